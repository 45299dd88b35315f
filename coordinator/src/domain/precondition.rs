//! From which state of a thing somebody goes who changes or deletes it (RFC 9110, 13.1.1): what he has not seen he does not
//! undo. A state is a revision, which grows with what users change alone: what agents report changes no mind.

use super::{Kind, Refusal};

/// What has to hold for a change to be made. Decided in the transaction of the change, with the thing held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    Whatever,
    /// That it is there.
    There,
    /// That it is in one of these revisions.
    Revision(Vec<u64>),
}

impl Precondition {
    /// Whether it holds for a thing that is there.
    ///
    /// # Errors
    /// If the thing is in another revision, or has none: then nobody can have seen one.
    pub fn check(&self, kind: Kind, revision: Option<u64>) -> Result<(), Refusal> {
        match self {
            Self::Whatever | Self::There => Ok(()),
            Self::Revision(seen) if revision.is_some_and(|now| seen.contains(&now)) => Ok(()),
            Self::Revision(_) => Err(Refusal::PreconditionFailed(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_revision_that_was_seen_is_changed() {
        let seen = Precondition::Revision(vec![3, 5]);
        assert!(seen.check(Kind::Host, Some(5)).is_ok());
        assert_eq!(seen.check(Kind::Host, Some(4)), Err(Refusal::PreconditionFailed(Kind::Host)));
        assert!(seen.check(Kind::Token, None).is_err() && Precondition::There.check(Kind::Token, None).is_ok());
        assert!(Precondition::Revision(Vec::new()).check(Kind::Host, Some(1)).is_err());
    }
}
