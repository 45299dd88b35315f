//! Every type of problem that the API answers, once: its name, its status, what it means and what a client can do. `error`
//! makes answers of these, `document` describes them, and `/docs/problems` lists them. A name never changes its meaning.

use axum::http::StatusCode as S;

/// One type of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// What clients branch on, within `urn:dockerforge:problem:`.
    pub name: &'static str,
    /// The status that it is answered with.
    pub status: S,
    /// What it is, in a few words; the same in every answer.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What a client can do.
    pub remedy: &'static str,
}

impl Kind {
    /// The value of `type` in an answer.
    #[must_use]
    pub fn urn(&self) -> String {
        format!("{URN}{}", self.name)
    }
}

/// What every type begins with.
pub const URN: &str = "urn:dockerforge:problem:";

/// The kind of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|kind| kind.name == name)
}

macro_rules! problems {
    ($($constant:ident = $name:literal, $status:ident, $title:literal, $meaning:literal, $remedy:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: &Kind =
                &Kind { name: $name, status: S::$status, title: $title, meaning: $meaning, remedy: $remedy };
        )*
        /// All of them, by status.
        pub const ALL: &[&Kind] = &[$($constant),*];
    };
}

problems! {
    BAD_REQUEST = "bad-request", BAD_REQUEST, "The request cannot be read",
        "The body is not JSON, it ended before it was complete, or a header or the query cannot be read.",
        "Correct the request; `detail` says where reading stopped.";

    UNAUTHORIZED = "unauthorized", UNAUTHORIZED, "Authentication is needed",
        "There is no key, or it signs nobody in.",
        "Send `Authorization: Bearer <key>`, or Basic with the user's name and a key.";
    TOKEN_EXPIRED = "token-expired", UNAUTHORIZED, "The token has expired",
        "The key is right, and the time of its token is over.",
        "Use another token, or have a new one made.";

    FORBIDDEN = "forbidden", FORBIDDEN, "This is for administrators",
        "Only an administrator may do that: this route, this member of the body, or acting for another user.",
        "Ask an administrator.";
    SCOPE_MISSING = "scope-missing", FORBIDDEN, "The token may not do that",
        "The user may do it, but not with this token: it lacks a scope, which `detail` names.",
        "Use a token with that scope.";
    SUSPENDED = "suspended", FORBIDDEN, "The user is suspended",
        "An administrator has suspended the user: nothing of his is opened or changed.",
        "Ask an administrator to resume him.";
    QUOTA_EXCEEDED = "quota-exceeded", FORBIDDEN, "The quota is used up",
        "The user would have more of something than he may; `quota`, `limit`, `used` and `asked` say of what and how much.",
        "Remove something, wait for jobs to end, or ask an administrator for more.";
    NOT_OWNER = "not-owner", FORBIDDEN, "It is another user's",
        "It is public, so everybody uses it, and only its owner deletes it.",
        "Leave it to its owner.";
    HOST_POLICY = "host-policy", FORBIDDEN, "The host's owner does not allow it",
        "The policy file on the host forbids it, whoever asks.",
        "Talk to the host's owner.";
    OTHER_ORIGIN = "other-origin", FORBIDDEN, "The page is from elsewhere",
        "A browser's page from an origin that is not configured tried to open a terminal.",
        "Have the coordinator's operator add the origin.";

    NOT_FOUND = "not-found", NOT_FOUND, "There is no such thing",
        "Nothing of this user has this id: in the path, or in `Dockerforge-User`. What is another user's does not exist for him.",
        "Look it up in its list.";
    NO_SUCH_ROUTE = "no-such-route", NOT_FOUND, "There is no such route",
        "Nothing is served at this path.",
        "Look for the route in `/openapi.json`.";

    METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED, "This method is not allowed here",
        "The path is served, with other methods.",
        "Use one of the methods that `Allow` names.";

    CONFLICT = "conflict", CONFLICT, "It changed meanwhile",
        "Something that the request names was changed at the same time, or the same request is just being carried out.",
        "Look again, and repeat the request.";
    NAME_TAKEN = "name-taken", CONFLICT, "The name is taken",
        "There is a thing of this kind and name already.",
        "Choose another name.";
    BEING_CHANGED = "being-changed", CONFLICT, "It is being changed",
        "An earlier change of the container has not ended.",
        "Wait for the job that `detail` names, or cancel it.";
    CONTAINER_MOVING = "container-moving", CONFLICT, "The container is moving",
        "The container is on its way to another host, and takes no changes until it is there or stays.",
        "Wait for the job that `detail` names, or cancel it.";
    LINKED = "linked", CONFLICT, "The container is linked",
        "Linked containers are on one host: neither leaves it alone. `detail` names them.",
        "Take the links off, and link it again where it is then.";
    VOLUME_IN_USE = "volume-in-use", CONFLICT, "Another container has the volume",
        "A volume moves with its container, and another one mounts it, here or under the same name where it is to go.",
        "Delete the other container, or make it anew without the volume.";
    BOUND_TO_HOST = "bound-to-host", CONFLICT, "The container is bound to its host",
        "It is given files, devices or more of its host, which another host does not have.",
        "Change it to one without `host_access` first.";
    BEING_DELETED = "being-deleted", CONFLICT, "It is being deleted",
        "It is on its way out, and takes no more changes.",
        "Make another one.";
    IMAGE_NOT_READY = "image-not-ready", CONFLICT, "The image is not there yet",
        "The image is still being made.",
        "Wait for the job that makes it.";
    IMAGE_IN_USE = "image-in-use", CONFLICT, "Containers use the image",
        "An image goes only when no container uses it; `detail` names those that do.",
        "Delete the containers first.";
    TEMPLATE_IN_USE = "template-in-use", CONFLICT, "Configurations use the template",
        "A template goes, or is hidden, only when no configuration is made of it; `detail` names those that are.",
        "Delete the configurations first.";
    CONFIGURATION_IN_USE = "configuration-in-use", CONFLICT, "Images use the configuration",
        "A configuration goes only when no image is made of it; `detail` names those that are.",
        "Delete the images first.";
    NOT_CONFIGURED = "not-configured", CONFLICT, "The container is of no configuration",
        "Its image was not built of a configuration, so there is nothing to converge it to.",
        "Make an image of a configuration, and a container of that.";
    PORT_TAKEN = "port-taken", CONFLICT, "The port is taken",
        "Another container on the host has the port.",
        "Choose another port, or none: then a free one is given.";
    CONTAINER_NOT_RUNNING = "container-not-running", CONFLICT, "The container does not run",
        "That can be done only in a container that runs.",
        "Start it first.";
    NOT_ON_HOST = "not-on-host", CONFLICT, "The container is not on its host",
        "It is not made yet, or was removed by hand.",
        "Look at its jobs; a container that was removed is to be deleted and made again.";
    NOTHING_FITS = "nothing-fits", CONFLICT, "No host has room for it",
        "None of the hosts that users share takes the container; `errors` says of each why.",
        "Ask for less, wish for less, or try again later.";
    HOST_DRAINING = "host-draining", CONFLICT, "The host is draining",
        "The host takes no new containers and images.",
        "Choose another host, or end its draining.";
    HOST_CONNECTED = "host-connected", CONFLICT, "The host has its agent already",
        "A fresh join token would replace an agent that works.",
        "Stop the agent first, or delete the host.";
    AGENT_TOO_OLD = "agent-too-old", CONFLICT, "The agent is too old",
        "The agent on the host does not know how to do that.",
        "Update the agent.";
    DOCKER_REFUSED = "docker-refused", CONFLICT, "Docker refused",
        "Docker on the host does not do it; `detail` has its words.",
        "That depends on those words.";
    JOB_ENDED = "job-ended", CONFLICT, "The job has ended",
        "What has ended cannot be cancelled.",
        "Look at the job: it says how it ended.";
    NOT_CANCELLABLE = "not-cancellable", CONFLICT, "The job cannot be cancelled",
        "The job takes something out of service, and goes on to its end.",
        "Wait for its end.";
    SYSTEM_USER = "system-user", CONFLICT, "The system user stays",
        "The first user is neither deleted nor suspended.",
        "Nothing: it is needed.";
    SHARES = "shares", CONFLICT, "Others use what is this user's",
        "The user has pool hosts or public images, which others use.",
        "Delete those first.";

    LOG_REMOVED = "log-removed", GONE, "The log was removed",
        "The job ended so long ago that its log is not kept any more.",
        "Nothing: it is gone.";
    EVENTS_FORGOTTEN = "events-forgotten", GONE, "These events are not kept any more",
        "What comes after the event that was named is not all there any more.",
        "Look at the resources themselves, and watch from now on.";

    PRECONDITION_FAILED = "precondition-failed", PRECONDITION_FAILED, "It is not as If-Match says",
        "It was changed since the entity tag in `If-Match` was answered, so nothing was done.",
        "Look again, and repeat the change with the new tag if it still makes sense.";

    TOO_LARGE = "too-large", PAYLOAD_TOO_LARGE, "The body is too large",
        "A JSON body may have 1 MiB; an archive what the operator says.",
        "Send less.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE,
        "The body is of a kind that is not read here",
        "The Content-Type is none that this route reads.",
        "Send `application/json`, or an archive as `application/x-tar` or `application/gzip` where one is taken.";

    INVALID = "invalid", UNPROCESSABLE_ENTITY, "Values cannot be accepted",
        "The request was read, and values in it cannot be accepted; `errors` names all of them.",
        "Correct each value that `errors` points at.";
    INVALID_ARCHIVE = "invalid-archive", UNPROCESSABLE_ENTITY, "The archive cannot be accepted",
        "The archive is damaged, or holds something that has no place in a build context.",
        "Pack it again without what `errors` names.";
    IDEMPOTENCY_MISMATCH = "idempotency-mismatch", UNPROCESSABLE_ENTITY,
        "The Idempotency-Key was used for another request",
        "The same key came with another method, path or body before.",
        "Take a fresh key for each request, and the same one only to repeat it.";

    NOT_A_WEBSOCKET = "not-a-websocket", UPGRADE_REQUIRED, "This is for websockets",
        "A terminal is a websocket, and the request does not ask for one.",
        "Open it with a websocket client.";

    TOO_MANY_FAILURES = "too-many-failures", TOO_MANY_REQUESTS, "Too many failed sign-ins",
        "Wrong keys came from this address, or under this name, again and again.",
        "Wait as long as `Retry-After` says, and correct the key.";
    RATE_LIMITED = "rate-limited", TOO_MANY_REQUESTS, "Too many requests",
        "More requests came from this user, or without a good key from this address, than may be.",
        "Wait as long as `Retry-After` says; ask for less at once.";
    TOO_MANY_STREAMS = "too-many-streams", TOO_MANY_REQUESTS, "Too many streams are open",
        "The user, or the host, has as many logs, figures and terminals open as may be.",
        "Close one, or try again later.";
    TOO_MANY_TICKETS = "too-many-tickets", TOO_MANY_REQUESTS, "Too many tickets are out",
        "More tickets for terminals were asked for than are kept.",
        "Use those that are out, or try again in half a minute.";

    INTERNAL = "internal", INTERNAL_SERVER_ERROR, "The coordinator failed",
        "This is a defect of the coordinator. Its log says more under `request_id`.",
        "Tell the operator the `request_id`.";

    UNAVAILABLE = "unavailable", SERVICE_UNAVAILABLE, "The coordinator cannot serve now",
        "The database does not answer, or the coordinator is shutting down.",
        "Try again after `Retry-After`, with the same Idempotency-Key.";
    RIYIC_UNAVAILABLE = "riyic-unavailable", SERVICE_UNAVAILABLE, "The configuration service cannot be asked now",
        "The service that configurations are fetched from does not answer, or not as it should. Nothing was changed.",
        "Try again after `Retry-After`; if it stays so, tell the operator.";
    HOST_OFFLINE = "host-offline", SERVICE_UNAVAILABLE, "The host is offline",
        "The container's host has no connection to the coordinator now.",
        "Try again when the host is online.";
    DOCKER_DOWN = "docker-down", SERVICE_UNAVAILABLE, "Docker does not answer",
        "The host is connected, and its Docker does not answer.",
        "Try again later; the host's diagnosis says more.";
    BROKE_OFF = "broke-off", SERVICE_UNAVAILABLE, "It broke off",
        "The container, or the session with its host, ended meanwhile.",
        "Try again.";

    DISK_FULL = "disk-full", INSUFFICIENT_STORAGE, "The coordinator's disk is full",
        "Nothing can be written now; reading works.",
        "Tell the operator, and try again later.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_there_once_and_all_are_in_the_order_of_their_status() {
        for (i, kind) in ALL.iter().enumerate() {
            assert!(ALL[..i].iter().all(|other| other.name != kind.name), "{} is there twice", kind.name);
            assert_eq!(named(kind.name), Some(*kind));
        }
        assert!(ALL.is_sorted_by_key(|kind| kind.status), "they are sorted by status");
    }
}
