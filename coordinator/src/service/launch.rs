//! What is prepared before a container is made, or made anew: what converges it, and what converges those that its links are
//! to have something from. Both are files, so that they are made before the transaction that names them.

use super::grants::{Providers, Wish};
use super::{Result, Services};
use crate::build::Claim;
use dockerforge_protocol::command::Convergence;
use dockerforge_protocol::ids::{ImageId, UserId};
use dockerforge_protocol::spec::ContainerSpec;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Launch {
    /// What the container is brought to as soon as it runs.
    pub(super) converge: Option<Convergence>,
    /// Those that are to make accounts for it.
    pub(super) providers: Providers,
}

impl Services {
    /// Prepares a container of an image; what was laid down for it is kept until the claims are released.
    pub(super) async fn launch(
        &self,
        user: UserId,
        image: ImageId,
        spec: &ContainerSpec,
        wishes: &[Wish],
    ) -> Result<(Launch, Vec<Claim>)> {
        let (providers, mut claims) = self.providers(user, spec, wishes).await?;
        match self.launch_context(user, image).await {
            Ok(found) => {
                let (converge, claim) = found.unzip();
                claims.extend(claim);
                Ok((Launch { converge, providers }, claims))
            }
            Err(error) => {
                self.release_all(claims).await;
                Err(error)
            }
        }
    }
}
