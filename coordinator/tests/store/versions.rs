//! Versions of templates and configurations: which of them are forgotten, and what their archives take.

use crate::bed::Bed;
use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::configuration::{Choice, Configuration};
use dockerforge_coordinator::domain::job::{JobKind, NewJob};
use dockerforge_coordinator::domain::template::{Provisioner, Running, Template, TemplateSpec};
use dockerforge_coordinator::store::{configurations, jobs, templates};
use dockerforge_protocol::command::{Command, ContextRef, ConvergeContainer};
use dockerforge_protocol::ids::{ConfigurationId, ContainerId, TemplateId, UserId};
use dockerforge_protocol::spec::Document;

crate::on_both! {
    versions_that_nothing_is_of_are_forgotten_but_for_the_newest
    an_archive_counts_once_however_many_versions_are_of_it
}

/// An archive of so many bytes.
fn archive(size: u64) -> ContextRef {
    ContextRef { sha256: format!("{size:064}"), size }
}

/// A template with a version for each of these archives.
async fn template(bed: &Bed, name: &'static str, archives: Vec<u64>) -> TemplateId {
    let now = clock::now();
    let spec = TemplateSpec {
        description: String::new(),
        base: "debian:12".parse().unwrap(),
        provisioner: Provisioner::Shell,
        run_list: vec!["a".parse().unwrap()],
        attributes: Document::default(),
        parameters: Document::default(),
        requires: Vec::new(),
        provides: Vec::new(),
        provision: None,
        run: Running::default(),
    };
    let (id, user) = (TemplateId::new(), bed.user);
    let version = move |i: u32, size: u64| Template {
        id,
        user,
        name: name.parse().unwrap(),
        public: false,
        version: i,
        spec: spec.clone(),
        archive: Some(archive(size)),
        created_at: now,
        changed_at: now,
    };
    bed.write(move |conn| {
        Box::pin(async move {
            for (i, size) in (1..).zip(archives) {
                let next = version(i, size);
                if i == 1 { templates::insert(conn, &next).await? } else { templates::advance(conn, &next).await? }
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    id
}

/// A configuration in so many versions, all of one version of its template.
async fn configuration(bed: &Bed, template: TemplateId, of: u32, versions: u32) -> ConfigurationId {
    let now = clock::now();
    let (id, user) = (ConfigurationId::new(), bed.user);
    let version = move |version: u32| Configuration {
        id,
        user,
        name: "blog".parse().unwrap(),
        template,
        template_version: of,
        version,
        choice: Choice::default(),
        secrets: Vec::new(),
        created_at: now,
        changed_at: now,
    };
    bed.write(move |conn| {
        Box::pin(async move {
            configurations::insert(conn, &version(1), None).await?;
            for next in 2..=versions {
                assert!(configurations::advance(conn, &version(next), None).await?);
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    id
}

async fn versions_that_nothing_is_of_are_forgotten_but_for_the_newest(bed: &Bed) {
    let id = template(bed, "page", vec![1, 2, 3, 4, 5]).await;
    let young = template(bed, "young", vec![1, 2]).await;
    let of = configuration(bed, id, 2, 5).await;
    // A job that has not ended converges to the second one.
    let container = ContainerId::new();
    let command = Command::ConvergeContainer(ConvergeContainer {
        container,
        user: bed.user,
        configuration: of,
        version: 2,
        context: archive(1),
        limit_s: 60,
    });
    let job = NewJob { kind: JobKind::ContainerConverge, command: Some(command), ..bed.job(container) };
    bed.write(move |conn| Box::pin(async move { jobs::insert(conn, &job).await })).await.unwrap();

    let mut conn = bed.read().await;
    assert_eq!(configurations::overgrown(&mut conn, 2, 9, None).await.unwrap(), [of]);
    assert_eq!(configurations::overgrown(&mut conn, 2, 9, Some(of)).await.unwrap(), []);
    assert_eq!(templates::overgrown(&mut conn, 2, 9, None).await.unwrap(), [id]);
    assert_eq!(templates::overgrown(&mut conn, 2, 9, Some(id)).await.unwrap(), []);
    assert_eq!(templates::overgrown(&mut conn, 1, 1, None).await.unwrap(), [id.min(young)]);
    drop(conn);
    let forget_configurations =
        || bed.write(move |conn| Box::pin(async move { configurations::forget_versions(conn, of, 2).await }));
    assert_eq!((forget_configurations().await.unwrap(), forget_configurations().await.unwrap()), (2, 0));
    let forget = || bed.write(move |conn| Box::pin(async move { templates::forget_versions(conn, id, 2).await }));
    assert_eq!((forget().await.unwrap(), forget().await.unwrap()), (2, 0));

    let mut conn = bed.read().await;
    for version in 1..=5 {
        let kept = templates::get_version(&mut conn, id, version).await.unwrap();
        assert_eq!(kept.is_some(), [2, 4, 5].contains(&version), "template {version}");
        let kept = configurations::get(&mut conn, bed.user, of, Some(version)).await.unwrap();
        assert_eq!(kept.is_some(), [2, 4, 5].contains(&version), "configuration {version}");
    }
}

async fn an_archive_counts_once_however_many_versions_are_of_it(bed: &Bed) {
    template(bed, "one", vec![10, 10, 20]).await;
    template(bed, "other", vec![10, 40]).await;
    let mut conn = bed.read().await;
    let mut taken = async |user: UserId, without: u64| {
        templates::archive_bytes(&mut conn, user, &archive(without).sha256).await.unwrap()
    };
    assert_eq!((taken(bed.user, 9).await, taken(bed.user, 40).await, taken(UserId::new(), 9).await), (70, 30, 0));
}
