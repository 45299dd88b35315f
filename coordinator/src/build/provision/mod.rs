//! The provisioners: which files each lays down in an image beside the archive. All have the same two doors, whatever is
//! behind: `install.sh`, run once in a layer of its own, and `provision.sh`, run by `converge.sh` at the build and in the
//! container; and all note what changed and what failed in the same way. Used by [`super::render`].

use crate::domain::template::Provisioner;

/// A file by its path below [`super::render::HOME`], and its text. What is in `bin` is executable.
pub type Laid = (&'static str, &'static str);

/// What is common to all.
pub const CONVERGE: Laid = ("converge.sh", include_str!("converge.sh"));

const ANSIBLE: &[Laid] = &[
    ("install.sh", include_str!("ansible/install.sh")),
    ("provision.sh", include_str!("ansible/provision.sh")),
    ("playbook.yml", include_str!("ansible/playbook.yml")),
    ("callback_plugins/dockerforge.py", include_str!("ansible/callback_plugins/dockerforge.py")),
];

const CHEF_SOLO: &[Laid] = &[
    ("install.sh", include_str!("chef-solo/install.sh")),
    ("provision.sh", include_str!("chef-solo/provision.sh")),
    ("solo.rb", include_str!("chef-solo/solo.rb")),
    ("outcome.rb", include_str!("chef-solo/outcome.rb")),
];

const SHELL: &[Laid] = &[
    ("install.sh", include_str!("shell/install.sh")),
    ("provision.sh", include_str!("shell/provision.sh")),
    ("bin/changed", include_str!("shell/changed.sh")),
];

/// The files of a provisioner.
#[must_use]
pub const fn files(provisioner: Provisioner) -> &'static [Laid] {
    match provisioner {
        Provisioner::Ansible => ANSIBLE,
        Provisioner::ChefSolo => CHEF_SOLO,
        Provisioner::Shell => SHELL,
    }
}
