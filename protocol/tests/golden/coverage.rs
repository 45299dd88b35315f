//! Which variants the golden messages hold. Each list is made by the match that names the variants, so a variant that
//! is added to the protocol does not compile here until it is named, and then fails until it has a message.

use dockerforge_protocol::{
    command::{Command, Hardening},
    handshake::{HeldState, RefusedReason, Verdict},
    inventory::{ContainerState, Health},
    message::{FromAgent, ToAgent},
    report::{FailureKind, Outcome, Product, Refusal},
    spec::{ContainerSpec, PortProtocol, RestartPolicy},
    stream::{Piece, StreamEnd, StreamRefusal, StreamRequest},
};
use std::collections::BTreeSet;

macro_rules! variants {
    ($($function:ident($type:ty) = [$($pattern:pat => $name:literal),* $(,)?];)*) => {
        $(fn $function(value: &$type) -> &'static str {
            match value { $($pattern => concat!(stringify!($type), "::", $name)),* }
        })*
        const ALL: &[&str] = &[$($(concat!(stringify!($type), "::", $name)),*),*];
    };
}

variants! {
    to_agent(ToAgent) = [
        ToAgent::Welcome(_) => "Welcome", ToAgent::Refused(_) => "Refused", ToAgent::Assign(_) => "Assign",
        ToAgent::Cancel { .. } => "Cancel", ToAgent::ResultAck { .. } => "ResultAck",
        ToAgent::LogAck { .. } => "LogAck", ToAgent::Certificate { .. } => "Certificate",
        ToAgent::OpenStream { .. } => "OpenStream", ToAgent::StreamData { .. } => "StreamData",
        ToAgent::StreamCredit { .. } => "StreamCredit", ToAgent::ResizeTerminal { .. } => "ResizeTerminal",
        ToAgent::StreamEnd { .. } => "StreamEnd",
    ];
    from_agent(FromAgent) = [
        FromAgent::Hello(_) => "Hello", FromAgent::Accepted { .. } => "Accepted",
        FromAgent::NotTaken { .. } => "NotTaken", FromAgent::Progress { .. } => "Progress",
        FromAgent::Log { .. } => "Log", FromAgent::Finished { .. } => "Finished",
        FromAgent::Inventory(_) => "Inventory", FromAgent::Heartbeat(_) => "Heartbeat",
        FromAgent::Docker { docker: Some(_) } => "Docker(Some)", FromAgent::Docker { docker: None } => "Docker(None)",
        FromAgent::Renew { .. } => "Renew", FromAgent::StreamOpened { .. } => "StreamOpened",
        FromAgent::StreamRefused { .. } => "StreamRefused", FromAgent::StreamData { .. } => "StreamData",
        FromAgent::StreamCredit { .. } => "StreamCredit", FromAgent::StreamEnd { .. } => "StreamEnd",
    ];
    wanted(StreamRequest) = [
        StreamRequest::Logs(_) => "Logs", StreamRequest::Stats(_) => "Stats", StreamRequest::Terminal(_) => "Terminal",
        StreamRequest::Blob(_) => "Blob", StreamRequest::Volume(_) => "Volume",
    ];
    not_opened(StreamRefusal) = [
        StreamRefusal::NoImage => "NoImage", StreamRefusal::NoContainer => "NoContainer", StreamRefusal::NotRunning => "NotRunning",
        StreamRefusal::Policy { .. } => "Policy", StreamRefusal::TooMany => "TooMany",
        StreamRefusal::DockerDown => "DockerDown", StreamRefusal::Docker { .. } => "Docker",
        StreamRefusal::Unsupported => "Unsupported",
    ];
    piece(Piece) = [
        Piece::Begin { .. } => "Begin", Piece::Lines { .. } => "Lines", Piece::Sample(_) => "Sample", Piece::Bytes { .. } => "Bytes",
    ];
    over(StreamEnd) = [
        StreamEnd::Done { .. } => "Done", StreamEnd::Left => "Left", StreamEnd::Failed { .. } => "Failed",
        StreamEnd::Protocol => "Protocol",
    ];
    command(Command) = [
        Command::CreateContainer(_) => "CreateContainer", Command::RemoveContainer(_) => "RemoveContainer",
        Command::StartContainer(_) => "StartContainer", Command::StopContainer(_) => "StopContainer",
        Command::RestartContainer(_) => "RestartContainer",
        Command::ExecContainer(_) => "ExecContainer", Command::ConvergeContainer(_) => "ConvergeContainer",
        Command::UpdateContainer(_) => "UpdateContainer", Command::RecreateContainer(_) => "RecreateContainer",
        Command::BuildImage(_) => "BuildImage", Command::PullImage(_) => "PullImage",
        Command::CopyImage(_) => "CopyImage", Command::PushImage(_) => "PushImage",
        Command::RemoveImage(_) => "RemoveImage", Command::RemoveUser(_) => "RemoveUser",
        Command::ReceiveContainer(_) => "ReceiveContainer", Command::ResumeContainer(_) => "ResumeContainer",
        Command::DiscardContainer(_) => "DiscardContainer",
    ];
    verdict(Verdict) = [
        Verdict::Continue { .. } => "Continue", Verdict::Cancel { .. } => "Cancel", Verdict::Forget => "Forget",
    ];
    held(HeldState) = [
        HeldState::Running => "Running", HeldState::Interrupted => "Interrupted", HeldState::Finished => "Finished",
    ];
    refused(RefusedReason) = [
        RefusedReason::Version => "Version", RefusedReason::Identity => "Identity",
        RefusedReason::Revoked => "Revoked", RefusedReason::Superseded => "Superseded",
        RefusedReason::Conflict => "Conflict", RefusedReason::Protocol => "Protocol",
        RefusedReason::Timeout => "Timeout", RefusedReason::Unavailable => "Unavailable",
    ];
    outcome(Outcome) = [
        Outcome::Succeeded { .. } => "Succeeded", Outcome::Failed { .. } => "Failed", Outcome::Cancelled => "Cancelled",
    ];
    product(Product) = [
        Product::Nothing => "Nothing", Product::Container { .. } => "Container", Product::Image { .. } => "Image", Product::Exec { .. } => "Exec",
        Product::Converged { .. } => "Converged", Product::Pushed { .. } => "Pushed",
    ];
    failure(FailureKind) = [
        FailureKind::DockerUnavailable => "DockerUnavailable", FailureKind::DockerTimeout => "DockerTimeout",
        FailureKind::DockerRefused => "DockerRefused", FailureKind::ImageNotFound => "ImageNotFound",
        FailureKind::ImageInUse => "ImageInUse", FailureKind::BuildFailed => "BuildFailed",
        FailureKind::ConvergeFailed => "ConvergeFailed", FailureKind::SourceUnavailable => "SourceUnavailable",
        FailureKind::ImageCorrupt => "ImageCorrupt", FailureKind::RegistryRefused => "RegistryRefused",
        FailureKind::RegistryUnavailable => "RegistryUnavailable",
        FailureKind::ContainerNotFound => "ContainerNotFound",
        FailureKind::ContainerNotRunning => "ContainerNotRunning", FailureKind::OutcomeUnknown => "OutcomeUnknown",
        FailureKind::ContextUnavailable => "ContextUnavailable",
        FailureKind::SecretsUnavailable => "SecretsUnavailable", FailureKind::NameTaken => "NameTaken",
        FailureKind::PortTaken => "PortTaken", FailureKind::ExitedEarly => "ExitedEarly",
        FailureKind::DiskFull => "DiskFull", FailureKind::Policy => "Policy",
        FailureKind::Unsupported => "Unsupported", FailureKind::Deadline => "Deadline",
        FailureKind::Internal => "Internal",
    ];
    refusal(Refusal) = [
        Refusal::Busy => "Busy", Refusal::DockerDown => "DockerDown", Refusal::Draining => "Draining",
        Refusal::JournalUnwritable { .. } => "JournalUnwritable", Refusal::Unsupported { .. } => "Unsupported",
    ];
    container_state(ContainerState) = [
        ContainerState::Created => "Created", ContainerState::Running => "Running",
        ContainerState::Paused => "Paused", ContainerState::Restarting => "Restarting",
        ContainerState::Exited => "Exited", ContainerState::Removing => "Removing", ContainerState::Dead => "Dead",
    ];
    health(Health) = [
        Health::Starting => "Starting", Health::Healthy => "Healthy", Health::Unhealthy => "Unhealthy",
    ];
    hardening(Hardening) = [Hardening::Docker => "Docker", Hardening::Pool => "Pool"];
    protocol(PortProtocol) = [PortProtocol::Tcp => "Tcp", PortProtocol::Udp => "Udp"];
    restart(RestartPolicy) = [
        RestartPolicy::No => "No", RestartPolicy::UnlessStopped => "UnlessStopped",
        RestartPolicy::Always => "Always", RestartPolicy::OnFailure => "OnFailure",
    ];
}

/// The variants met so far.
#[derive(Default)]
pub struct Seen(BTreeSet<&'static str>);

impl Seen {
    /// Notes all that stands in a message to an agent.
    pub fn note_down(&mut self, message: &ToAgent) {
        self.0.insert(to_agent(message));
        match message {
            ToAgent::Welcome(welcome) => self.0.extend(welcome.jobs.iter().map(|job| verdict(&job.verdict))),
            ToAgent::Refused(why) => self.0.extend([refused(&why.reason)]),
            ToAgent::Assign(assign) => {
                self.0.insert(command(&assign.command));
                if let Command::CreateContainer(create) = &assign.command {
                    self.0.insert(hardening(&create.hardening));
                    self.spec(&create.spec);
                }
            }
            ToAgent::Cancel { .. }
            | ToAgent::ResultAck { .. }
            | ToAgent::LogAck { .. }
            | ToAgent::Certificate { .. }
            | ToAgent::StreamCredit { .. }
            | ToAgent::ResizeTerminal { .. } => {}
            ToAgent::OpenStream { request, .. } => self.0.extend([wanted(request)]),
            ToAgent::StreamData { piece: sent, .. } => self.0.extend([piece(sent)]),
            ToAgent::StreamEnd { end, .. } => self.0.extend([over(end)]),
        }
    }

    /// Notes all that stands in a message from an agent.
    pub fn note_up(&mut self, message: &FromAgent) {
        self.0.insert(from_agent(message));
        match message {
            FromAgent::Hello(hello) => self.0.extend(hello.jobs.iter().map(|job| held(&job.state))),
            FromAgent::NotTaken { refusal: why, .. } => self.0.extend([refusal(why)]),
            FromAgent::Finished { outcome: how, .. } => {
                self.0.insert(outcome(how));
                match how {
                    Outcome::Succeeded { product: made } => self.0.extend([product(made)]),
                    Outcome::Failed { failure: why } => self.0.extend([failure(&why.kind)]),
                    Outcome::Cancelled => {}
                }
            }
            FromAgent::Inventory(inventory) => {
                self.0.extend(inventory.containers.iter().map(|c| container_state(&c.state)));
                self.0.extend(inventory.containers.iter().filter_map(|c| c.health.as_ref()).map(health));
                self.0.extend(inventory.containers.iter().flat_map(|c| &c.ports).map(|port| protocol(&port.protocol)));
            }
            FromAgent::Accepted { .. }
            | FromAgent::Progress { .. }
            | FromAgent::Log { .. }
            | FromAgent::Heartbeat(_)
            | FromAgent::Docker { .. }
            | FromAgent::Renew { .. }
            | FromAgent::StreamOpened { .. }
            | FromAgent::StreamCredit { .. } => {}
            FromAgent::StreamRefused { refusal, .. } => self.0.extend([not_opened(refusal)]),
            FromAgent::StreamData { piece: sent, .. } => self.0.extend([piece(sent)]),
            FromAgent::StreamEnd { end, .. } => self.0.extend([over(end)]),
        }
    }

    fn spec(&mut self, spec: &ContainerSpec) {
        self.0.insert(restart(&spec.restart));
        self.0.extend(spec.ports.iter().map(|port| protocol(&port.protocol)));
    }

    /// The variants that were never met.
    pub fn missing(&self) -> Vec<String> {
        ALL.iter().filter(|name| !self.0.contains(*name)).map(ToString::to_string).collect()
    }
}
