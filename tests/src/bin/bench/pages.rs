//! Pages of a list among 100 rows and among 100,000, as ratio: plain, and filtered by what is rare.

use super::report::{Report, ms, percentile};
use dockerforge_tests::{client::Api, cluster::Cluster};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use std::time::{Duration, Instant};

const FEW: u32 = 100;
const MANY: u32 = 100_000;
/// The oldest rows are of the rare kind.
const RARE: u32 = 10;
const PAGES: usize = 400;

async fn p50(api: &Api, path: &str) -> Duration {
    let mut times = Vec::with_capacity(PAGES);
    for _ in 0..PAGES {
        let begun = Instant::now();
        api.get(path).await.expect(200);
        times.push(begun.elapsed());
    }
    percentile(&mut times, 0.5)
}

/// Jobs `from..=to` of a user, written while nobody serves.
async fn fill(cluster: &mut Cluster, user: &str, from: u32, to: u32) {
    cluster.stop().await;
    let file = cluster.data().join("dockerforge.db");
    let mut db = SqliteConnection::connect(&file.display().to_string()).await.unwrap();
    let user = user.rsplit('_').next().unwrap_or_default();
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to}), \
         t (now) AS (SELECT strftime('%s', 'now') * 1000000) \
         INSERT INTO jobs (id, user_id, kind, subject_kind, subject_id, state, run_after, deadline_at, created_at, ended_at) \
         SELECT unhex(printf('%032x', i)), X'{user}', 'image.delete', 'image', unhex(printf('%032x', i)), \
         CASE WHEN i <= {RARE} THEN 'cancelled' ELSE 'succeeded' END, now, now, now, now FROM n, t"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    cluster.launch(&[]).await;
}

/// Adds both.
pub async fn measure(report: &mut Report) {
    let mut cluster = Cluster::start().await;
    let (user, api) = cluster.user("bench").await;
    let lists = [("plain", "/v1/queue?limit=50"), ("a rare state", "/v1/queue?limit=50&state=cancelled")];
    let mut figures = Vec::new();
    for (from, to) in [(1, FEW), (FEW + 1, MANY)] {
        fill(&mut cluster, &user.user.id, from, to).await;
        for (_, path) in lists {
            p50(&api, path).await;
            figures.push(p50(&api, path).await);
        }
    }
    for (i, (what, _)) in lists.into_iter().enumerate() {
        let (few, many) = (figures[i], figures[i + lists.len()]);
        report.add(
            "P7",
            format!("GET /queue, a page among {MANY} rows in times of one among {FEW}, {what}"),
            format!("{:.2} ×", many.as_secs_f64() / few.as_secs_f64()),
            "≤ 1.2 ×",
            format!("p50 {:.2} ms among {FEW}, {:.2} ms among {MANY}", ms(few), ms(many)),
        );
    }
}
