//! A database of one test's own, with a user, a host and an image in it.

use dockerforge_coordinator::clock;
use dockerforge_coordinator::domain::host::{Host, HostState};
use dockerforge_coordinator::domain::job::{JobKind, NewJob, Subject};
use dockerforge_coordinator::domain::user::{User, UserState};
use dockerforge_coordinator::queue::Request;
use dockerforge_coordinator::store::{self, Conn, Location, Store, StoreError};
use dockerforge_coordinator::tasks::Tasks;
use dockerforge_protocol::command::{Command, RemoveContainer};
use dockerforge_protocol::ids::{ContainerId, HostId, JobId, UserId};
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use std::time::Duration;

pub struct Bed {
    pub store: Store,
    pub user: UserId,
    pub host: HostId,
    tasks: Tasks,
    folder: Option<tempfile::TempDir>,
    database: Option<(String, String)>,
}

impl Bed {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(folder.path().join("test.db"));
        Self { folder: Some(folder), ..Self::open(&location).await }
    }

    pub async fn postgres() -> Self {
        let base = std::env::var("DOCKERFORGE_TEST_POSTGRES")
            .expect("DOCKERFORGE_TEST_POSTGRES is not set: `make test` sets it");
        let name = format!("store_{}", JobId::new().uuid().simple());
        let admin = format!("{base}postgres");
        admin_sql(&admin, format!("CREATE DATABASE {name}")).await;
        let location = Location::Postgres(format!("{base}{name}"));
        Self { database: Some((admin, name)), ..Self::open(&location).await }
    }

    async fn open(location: &Location) -> Self {
        let tasks = Tasks::new();
        let store = Store::open(location, &tasks).await.unwrap();
        // Once more on a schema that is up to date: nothing to do.
        Store::open(location, &tasks).await.unwrap();
        let bed = Self { store, user: UserId::new(), host: HostId::new(), tasks, folder: None, database: None };
        let (user, host) = (user(bed.user), host(bed.host, bed.user, "host"));
        bed.write(move |conn| {
            Box::pin(async move {
                store::users::insert(conn, &user).await?;
                store::hosts::insert(conn, &host).await
            })
        })
        .await
        .unwrap();
        bed
    }

    /// A transaction whose error is the store's.
    pub async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.store.write(change).await
    }

    pub async fn read(&self) -> Conn {
        self.store.read().await.unwrap()
    }

    /// Enqueues a job about a thing on the bed's host.
    pub async fn enqueue(&self, about: ContainerId) -> JobId {
        let job = self.job(about);
        let id = job.id;
        self.write(move |conn| Box::pin(async move { store::jobs::insert(conn, &job).await })).await.unwrap();
        id
    }

    pub fn job(&self, about: ContainerId) -> NewJob {
        let now = clock::now();
        NewJob {
            id: JobId::new(),
            user: self.user,
            host: Some(self.host),
            parent: None,
            kind: JobKind::ContainerDelete,
            subject: Subject::Container(about),
            command: Some(Command::RemoveContainer(RemoveContainer {
                container: about,
                user: self.user,
                volumes: false,
            })),
            created_at: now,
            deadline_at: now.checked_add(SignedDuration::from_hours(1)).unwrap(),
        }
    }

    /// The same as [`Self::job`], as it is asked for.
    pub fn request(&self, about: ContainerId) -> Request {
        let remove = RemoveContainer { container: about, user: self.user, volumes: false };
        Request {
            id: JobId::new(),
            user: self.user,
            work: Some((self.host, Command::RemoveContainer(remove))),
            parent: None,
            kind: JobKind::ContainerDelete,
            subject: Subject::Container(about),
            wait: None,
        }
    }

    /// Lets no transaction begin until it is ended: somebody else writes (SQLite), no connection is let in (PostgreSQL).
    pub async fn refuse_transactions(&self) -> Refusing {
        use sqlx::Connection;
        if let Some((admin, name)) = &self.database {
            admin_sql(admin, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
            let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
            admin_sql(admin, end).await;
            return Refusing::Postgres(admin.clone(), name.clone());
        }
        let path = self.folder.as_ref().unwrap().path().join("test.db");
        let mut writer = sqlx::SqliteConnection::connect(&path.display().to_string()).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
        Refusing::Sqlite(writer)
    }

    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub async fn remove(self) {
        let Self { store, tasks, folder, database, .. } = self;
        drop(store);
        let running = tasks.shutdown(Duration::from_secs(5)).await;
        assert!(running.is_empty(), "still running: {running:?}");
        if let Some((admin, name)) = database {
            admin_sql(&admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
        drop(folder);
    }
}

pub enum Refusing {
    Sqlite(sqlx::SqliteConnection),
    Postgres(String, String),
}

impl Refusing {
    pub async fn end(self) {
        match self {
            Self::Sqlite(mut writer) => {
                sqlx::raw_sql("ROLLBACK").execute(&mut writer).await.unwrap();
            }
            Self::Postgres(admin, name) => {
                admin_sql(&admin, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
            }
        }
    }
}

pub fn user(id: UserId) -> User {
    let name = format!("u{}", id.uuid().simple()).parse().unwrap();
    User { id, name, admin: false, state: UserState::Active, created_at: clock::now(), revision: 1 }
}

pub fn host(id: HostId, user: UserId, name: &str) -> Host {
    Host {
        id,
        user,
        name: name.parse().unwrap(),
        state: HostState::Pending,
        labels: dockerforge_protocol::spec::Labels::default(),
        created_at: clock::now(),
        enrolled_at: None,
        last_seen_at: None,
        agent: None,
        session_epoch: 0,
        docker_ping_age_ms: None,
        usage: None,
        certificate_ends_at: None,
        clock_offset_ms: None,
        faults: Vec::new(),
        conflict: None,
        pool: false,
        draining: false,
        revision: 1,
    }
}

async fn admin_sql(url: &str, sql: String) {
    use sqlx::Connection;
    let mut conn = sqlx::PgConnection::connect(url).await.expect("the PostgreSQL of the tests answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}
