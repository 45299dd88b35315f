//! The provisioners: which files each lays down in an image beside the archive. All have the same two doors, whatever is
//! behind: `install.sh`, run once in a layer of its own, and `provision.sh`, run by `converge.sh` at the build and in the
//! container; and all note what changed and what failed in the same way. Used by [`super::render`].

use super::archive::Listing;
use crate::domain::template::{Provisioner, RunListItem};

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

/// The scripts that an entry of a run list may be, below the archive: the first that is there is it. A shell's run list is
/// written with them, so that what runs is what was looked for.
#[must_use]
pub fn scripts(item: &RunListItem) -> Vec<String> {
    let name = item.name();
    match item.part() {
        Some(part) => vec![format!("{name}/{part}.sh")],
        None => vec![format!("{name}.sh"), format!("{name}/default.sh")],
    }
}

/// Why an entry of a run list cannot be done with this archive; nothing where it can, or where only the provisioner knows. Ansible
/// has roles by the name of their folder, Chef cookbooks by what they say they are called, and each finds what is in them.
#[must_use]
pub fn lacks(provisioner: Provisioner, item: &RunListItem, archive: &Listing) -> Option<&'static str> {
    let name = item.name();
    let folder = |within: &str| archive.may_have_folder(&format!("{within}/{name}")) || archive.may_have_folder(name);
    match provisioner {
        Provisioner::Shell if !scripts(item).iter().any(|path| archive.may_have_file(path)) => {
            Some("the archive has no such script")
        }
        Provisioner::Ansible if !folder("roles") => Some("the archive has no such role"),
        Provisioner::ChefSolo if item.is_role() => {
            let there = |suffix: &str| archive.may_have_below("roles", &format!("{name}.{suffix}"));
            (!there("rb") && !there("json")).then_some("the archive has no such role")
        }
        Provisioner::ChefSolo if !folder("cookbooks") && !archive.metadata_mentions(name) => {
            Some("the archive has no such cookbook")
        }
        _ => None,
    }
}

/// The files of a provisioner.
#[must_use]
pub const fn files(provisioner: Provisioner) -> &'static [Laid] {
    match provisioner {
        Provisioner::Ansible => ANSIBLE,
        Provisioner::ChefSolo => CHEF_SOLO,
        Provisioner::Shell => SHELL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::archive::{File, compose};
    use std::io::Seek;

    fn listed(files: &[(&str, &str)]) -> Listing {
        let files: Vec<File> = files.iter().map(|(path, text)| File::new(*path, *text)).collect();
        let mut file = tempfile::tempfile().unwrap();
        compose(&files, None, &mut file).unwrap();
        file.rewind().unwrap();
        Listing::read(file).unwrap()
    }

    #[test]
    fn what_an_archive_cannot_have_is_known_and_what_only_the_provisioner_knows_is_left_to_it() {
        let long = format!("{}/main.yml", "deep/".repeat(40));
        let listing = listed(&[
            ("page.sh", ""),
            ("extra/default.sh", ""),
            ("extra/more.sh", ""),
            ("roles/web/tasks/main.yml", ""),
            ("mail/tasks/main.yml", ""),
            (long.as_str(), ""),
            ("cookbooks/chef-nginx/metadata.rb", "name 'nginx'\n"),
            ("cookbooks/php/recipes/default.rb", ""),
            ("roles/of/front.json", ""),
        ]);
        for (provisioner, item, there) in [
            (Provisioner::Shell, "page", true),
            (Provisioner::Shell, "recipe[page::more]", false),
            (Provisioner::Shell, "role[extra]", true),
            (Provisioner::Shell, "extra::more", true),
            (Provisioner::Shell, "more", false),
            (Provisioner::Ansible, "web", true),
            (Provisioner::Ansible, "web::whatever", true),
            (Provisioner::Ansible, "role[mail]", true),
            (Provisioner::Ansible, "deep", true),
            (Provisioner::Ansible, "tasks", false),
            (Provisioner::Ansible, "page", false),
            (Provisioner::ChefSolo, "php::fpm", true),
            (Provisioner::ChefSolo, "nginx", true),
            (Provisioner::ChefSolo, "mysql", false),
            (Provisioner::ChefSolo, "role[front]", true),
            (Provisioner::ChefSolo, "role[back]", false),
        ] {
            let lacks = lacks(provisioner, &item.parse().unwrap(), &listing);
            assert_eq!(lacks.is_none(), there, "{provisioner:?} {item}: {lacks:?}");
        }
        assert!(Provisioner::ALL.iter().all(|p| lacks(*p, &"page".parse().unwrap(), &Listing::default()).is_some()));
    }
}
