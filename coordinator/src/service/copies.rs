//! Images on more hosts than the one that made them: the jobs that bring them there, and what such a job asks for while it is in
//! work: which content the image has, and its parts, from a host that has it.

use super::{Result, Services, supplies};
use crate::domain::image::{Image, ImageOnHost, Way};
use crate::domain::job::{Job, JobKind, JobState, Subject};
use crate::queue::{self, Request};
use crate::registry::Doing;
use crate::relay::{Event, Lost, Reader};
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, CopyImage, PullImage};
use dockerforge_protocol::enrolment::{SuppliedImage, SuppliedRegistry};
use dockerforge_protocol::ids::{HostId, ImageId, JobId};
use dockerforge_protocol::stream::{BlobRequest, Piece, StreamEnd, StreamRequest};
use jiff::SignedDuration;

/// A part of an image on its way from the host that has it.
pub struct Blob {
    /// How large the whole part is, bytes.
    pub size: u64,
    reader: Reader,
}

/// Why a part of an image ended early.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The session of the host that has it ended, or it was not read.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The host that has it could not go on.
    #[error("the host that has it could not go on: {0}")]
    Failed(String),
}

impl Blob {
    /// What comes next of it; nothing once all of it has come.
    ///
    /// # Errors
    /// It ended early.
    pub async fn next(&self) -> std::result::Result<Option<Vec<u8>>, Broken> {
        loop {
            match self.reader.next().await? {
                Event::Piece(Piece::Bytes { bytes }) => return Ok(Some(bytes)),
                Event::Piece(_) => {}
                Event::End(StreamEnd::Done { .. }) => return Ok(None),
                Event::End(StreamEnd::Failed { detail }) => return Err(Broken::Failed(detail)),
                Event::End(StreamEnd::Left | StreamEnd::Protocol) => return Err(Lost.into()),
            }
        }
    }
}

impl Services {
    /// What image a job of this host is to bring there.
    pub async fn job_image(&self, serial: &str, host: HostId, job: JobId) -> Result<Option<SuppliedImage>> {
        let mut conn = self.store.read().await?;
        let job = supplies::in_work(&mut conn, serial, host, job).await?;
        let Some(id) = job.as_ref().and_then(image_of) else { return Ok(None) };
        let Some(image) = store::images::find(&mut conn, id).await? else { return Ok(None) };
        let Some(docker_id) = image.docker_id.clone() else { return Ok(None) };
        let doing = match job.and_then(|job| job.command) {
            Some(Command::PushImage(_)) => Some(Doing::Push),
            Some(Command::CopyImage(_)) => Some(Doing::Pull),
            _ => None,
        };
        let registry = match doing {
            Some(doing) => self.right_to(&mut conn, &image, doing, host).await?,
            None => None,
        };
        Ok(Some(SuppliedImage { docker_id, registry }))
    }

    /// What opens an image's place in the registry to a host, where there is a registry and the host may use it.
    async fn right_to(
        &self,
        conn: &mut Conn,
        image: &Image,
        doing: Doing,
        host: HostId,
    ) -> Result<Option<SuppliedRegistry>> {
        let Some(registry) = &self.registry else { return Ok(None) };
        let place = registry.place();
        let repository = place.repository(image.id);
        let there = image.registry.as_ref().filter(|there| there.repository == repository);
        let digest = there.and_then(|there| there.digest.clone()).filter(|_| doing == Doing::Pull);
        let asked = store::registry::parties(conn, &[host]).await?;
        let may = asked.first().is_some_and(|host| place.opening.is_for(host.admin));
        if there.is_none() || !may || (doing == Doing::Pull && digest.is_none()) {
            return Ok(None);
        }
        let login = registry.login(&repository, doing, &host.to_string(), crate::clock::now())?;
        Ok(Some(SuppliedRegistry { repository, digest, login }))
    }

    /// A part of that image from this byte on, from another host that has it; none where no such host can be reached. With
    /// another `turn`, which is how often what came was something else, another one is asked first.
    pub async fn job_blob(
        &self,
        serial: &str,
        host: HostId,
        job: JobId,
        digest: String,
        from: u64,
        turn: usize,
    ) -> Result<Option<Blob>> {
        let (image, sources) = {
            let mut conn = self.store.read().await?;
            let job = supplies::in_work(&mut conn, serial, host, job).await?;
            let Some(id) = job.as_ref().and_then(image_of) else { return Ok(None) };
            let Some(image) = store::images::find(&mut conn, id).await? else { return Ok(None) };
            let presence = store::images::presence(&mut conn, &[id]).await?;
            let sources = store::images::sources(&mut conn, &image, &presence).await?;
            (image, sources)
        };
        let Some(docker_id) = image.docker_id.clone() else { return Ok(None) };
        let sources = sources.into_iter().map(|source| source.host).filter(|source| *source != host);
        let mut sources: Vec<_> = sources.filter_map(|source| Some((source, (self.relay)(source)?))).collect();
        // Several hosts that ask at once do not all ask the same one.
        let turn = usize::from(job.uuid().as_bytes()[15]).wrapping_add(turn) % sources.len().max(1);
        sources.rotate_left(turn);
        let request = StreamRequest::Blob(BlobRequest { image: image.id, docker_id, digest, from });
        for (source, streams) in sources {
            let opened = async {
                let reader = streams.open(request.clone())?;
                reader.opened().await?;
                Ok::<_, crate::relay::NotOpened>(reader)
            };
            match opened.await {
                Ok(reader) => match reader.next().await {
                    Ok(Event::Piece(Piece::Begin { size })) => return Ok(Some(Blob { size, reader })),
                    other => tracing::info!(image = %image.id, %source, ?other, "a host could not give its image"),
                },
                Err(why) => tracing::info!(image = %image.id, %source, %why, "a host does not give its image"),
            }
        }
        Ok(None)
    }
}

fn image_of(job: &Job) -> Option<ImageId> {
    match &job.command {
        Some(Command::CopyImage(copy)) => Some(copy.image),
        Some(Command::PushImage(push)) => Some(push.image),
        Some(Command::PullImage(pull)) => Some(pull.image),
        _ => None,
    }
}

/// The job that brings an image to one more host: one that is on its way, or a new one. It is the image's owner's, and never
/// refused: somebody else's container may wait for it.
pub(super) async fn obtain(conn: &mut Conn, image: &Image, way: Way, host: HostId) -> Result<JobId> {
    let now = crate::clock::now();
    let open = store::jobs::open_about(conn, Subject::Image(image.id)).await?;
    let brings = |kind: JobKind| matches!(kind, JobKind::ImagePull | JobKind::ImageCopy);
    let under_way = open.iter().find(|job| brings(job.kind) && job.host == Some(host));
    if let Some(job) = under_way.filter(|job| job.state != JobState::Cancelling) {
        return Ok(job.id);
    }
    let copies = way == Way::Copy;
    let request = request(image, way, host, None);
    store::images::set_presence(conn, &ImageOnHost::on_its_way(image.id, host, request.id, now)).await?;
    let job = queue::enqueue_following(conn, request, now).await?;
    if copies {
        queue::push_first(conn, image, &[(job, host)], now).await?;
    }
    Ok(job)
}

/// Asks for an image on one more host once the job that makes it has ended; counts among what its user may ask.
pub(super) async fn follow(
    conn: &mut Conn,
    image: &Image,
    host: HostId,
    made: JobId,
    wait: Option<SignedDuration>,
) -> Result<()> {
    let now = crate::clock::now();
    let request = request(image, Way::Copy, host, wait);
    store::images::set_presence(conn, &ImageOnHost::on_its_way(image.id, host, request.id, now)).await?;
    let job = queue::enqueue(conn, request, now).await?;
    store::jobs::set_after(conn, job, made).await?;
    Ok(())
}

fn request(image: &Image, way: Way, host: HostId, wait: Option<SignedDuration>) -> Request {
    let (kind, command) = match way {
        Way::Pull(reference) => {
            (JobKind::ImagePull, Command::PullImage(PullImage { image: image.id, user: image.user, reference }))
        }
        Way::Copy => (JobKind::ImageCopy, Command::CopyImage(CopyImage { image: image.id, user: image.user })),
    };
    Request {
        id: JobId::new(),
        user: image.user,
        work: Some((host, command)),
        parent: None,
        kind,
        subject: Subject::Image(image.id),
        wait,
    }
}
