//! Pages of lists, whatever is filtered by: each filter has an index that is in the order of the list, and one of them
//! leads. Called by the `list` functions of this room.
//!
//! What must hold: a page reads a bounded number of rows, however many there are and however rare those that are asked
//! for. With one filter it reads what it shows. With several, the most selective leads to at most [`LOOKED_AT`] rows, of
//! which the others choose; a page that is not full then says where it stopped.

use super::{Conn, StoreError};
use crate::domain::Kind;
use crate::domain::page::Found;
use dockerforge_protocol::spec::Labels;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Database, FromRow, Postgres, QueryBuilder, Sqlite};
use uuid::Uuid;

/// Rows that one page looks at where they are chosen from.
const LOOKED_AT: i64 = 1_000;

/// A value of a condition.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Id(Uuid),
    Text(String),
    Number(i64),
    True,
}

/// A database that values can be bound for.
trait Binds: Database + Sized {
    fn bind(q: &mut QueryBuilder<Self>, value: &Value);
}

macro_rules! binds {
    ($($database:ty)*) => {
        $(impl Binds for $database {
            fn bind(q: &mut QueryBuilder<Self>, value: &Value) {
                match value {
                    Value::Id(id) => q.push_bind(*id),
                    Value::Text(text) => q.push_bind(text.clone()),
                    Value::Number(number) => q.push_bind(*number),
                    Value::True => q.push("TRUE"),
                };
            }
        })*
    };
}
binds! { Sqlite Postgres }

/// What can be read from either database.
pub(super) trait Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin> Row for T {}

/// What a list is ordered by.
pub(super) trait Cursor: Copy + Ord + Send + Sync + Unpin + Into<Value> {}
impl Cursor for Uuid {}
impl Cursor for i64 {}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Columns that are these values, on one index with the id after them.
pub(super) type Equal = Vec<(&'static str, Value)>;

/// What is filtered by.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// A column of the listed table, which has an index with the list's scope before it and the id after it.
    Column(&'static str, Value),
    /// Another table names the rows, in order, on an index of these columns with the id after them.
    Named {
        table: &'static str,
        id: &'static str,
        on: Equal,
        /// Whether what it names is within the scope of the list.
        scoped: bool,
    },
}

/// A list to read a page of.
pub(super) struct List<'a, C> {
    /// `SELECT … FROM table `, with the table's name where a column could be another table's.
    pub(super) select: &'a str,
    /// The listed table.
    pub(super) table: &'static str,
    /// Whose it is.
    pub(super) scope: Equal,
    pub(super) conditions: Vec<Condition>,
    /// The last row of the page before.
    pub(super) after: Option<C>,
    pub(super) limit: u32,
}

/// A condition on each of these labels: of a user's things of a kind, or of those that every user sees.
pub(super) fn labelled(user: Option<Uuid>, kind: Kind, labels: &Labels) -> impl Iterator<Item = Condition> {
    let text = |text: &str| Value::Text(text.to_owned());
    labels.iter().map(move |(key, value)| Condition::Named {
        table: "labels",
        id: "resource_id",
        on: vec![
            user.map_or(("public", Value::True), |user| ("user_id", Value::Id(user))),
            ("kind", text(kind.as_str())),
            ("key", text(&key.to_string())),
            ("value", text(&value.to_string())),
        ],
        scoped: true,
    })
}

/// Reads a page, newest first.
pub(super) async fn read<R: Row, C: Cursor>(conn: &mut Conn, list: &List<'_, C>) -> Result<Found<R, C>, StoreError>
where
    (C,): Row,
{
    let (lead, bottom) = lead(conn, list).await?;
    let rows: Vec<R> = match conn {
        Conn::Sqlite(c) => list.rows::<Sqlite>(lead, bottom).build_query_as().fetch_all(&mut **c).await?,
        Conn::Postgres(c) => list.rows::<Postgres>(lead, bottom).build_query_as().fetch_all(&mut **c).await?,
    };
    let full = rows.len() >= list.limit as usize;
    Ok(Found { items: rows, stopped: bottom.filter(|_| !full) })
}

/// Which condition leads (none of them where the scope does), and the last row that it may lead to, if there may be more.
async fn lead<C: Cursor>(conn: &mut Conn, list: &List<'_, C>) -> Result<(Option<usize>, Option<C>), StoreError>
where
    (C,): Row,
{
    match list.conditions.as_slice() {
        [] => return Ok((None, None)),
        [Condition::Column(..) | Condition::Named { scoped: true, .. }] => return Ok((Some(0), None)),
        _ => {}
    }
    let mut best: Option<(usize, C)> = None;
    for index in 0..list.conditions.len() {
        let bottom: Option<C> = match conn {
            Conn::Sqlite(c) => list.bottom::<Sqlite>(index).build_query_scalar().fetch_optional(&mut **c).await?,
            Conn::Postgres(c) => list.bottom::<Postgres>(index).build_query_scalar().fetch_optional(&mut **c).await?,
        };
        match bottom {
            // It names few: the page that they make is complete.
            None => return Ok((Some(index), None)),
            // Of those that name many, the one that gets furthest with as many rows names the fewest.
            Some(bottom) if best.is_none_or(|(_, least)| bottom < least) => best = Some((index, bottom)),
            Some(_) => {}
        }
    }
    Ok(best.map_or((None, None), |(index, bottom)| (Some(index), Some(bottom))))
}

/// `a = … AND b = …`
fn equal<DB: Binds>(q: &mut QueryBuilder<DB>, columns: &Equal) {
    for (i, (column, wanted)) in columns.iter().enumerate() {
        q.push(if i == 0 { "" } else { " AND " }).push(column).push(" = ");
        DB::bind(q, wanted);
    }
}

/// A condition that chooses among rows that something else has led to. As a truth value it is looked for on no index, by
/// either database: what leads was chosen by looking. PostgreSQL still estimates how many rows it holds for.
fn choose<DB: Binds>(q: &mut QueryBuilder<DB>, column: &str, wanted: &Value) {
    q.push(format_args!(" AND ({column} = "));
    DB::bind(q, wanted);
    q.push(") IS TRUE");
}

impl<C: Cursor> List<'_, C> {
    /// Where rows come from, and which: `(table, id, on)`.
    fn source(&self, lead: Option<usize>) -> (&'static str, &'static str, Equal) {
        match lead.and_then(|index| self.conditions.get(index)) {
            None => (self.table, "id", self.scope.clone()),
            Some(Condition::Column(column, value)) => {
                let mut on = self.scope.clone();
                on.push((column, value.clone()));
                (self.table, "id", on)
            }
            Some(Condition::Named { table, id, on, .. }) => (table, id, on.clone()),
        }
    }

    /// The range of the page, on an index: `a = … AND b = … AND id < …`.
    fn range<DB: Binds>(&self, q: &mut QueryBuilder<DB>, id: &str, on: &Equal) {
        q.push(if on.is_empty() && self.after.is_none() { "" } else { " WHERE " });
        equal(q, on);
        if let Some(after) = self.after {
            q.push(if on.is_empty() { "" } else { " AND " }).push(id).push(" < ");
            DB::bind(q, &after.into());
        }
    }

    /// The last of the rows that one page looks at.
    fn bottom<DB: Binds>(&self, lead: usize) -> QueryBuilder<DB> {
        let (table, id, on) = self.source(Some(lead));
        let mut q = QueryBuilder::new("SELECT ");
        q.push(id).push(" FROM ").push(table);
        self.range(&mut q, id, &on);
        q.push(" ORDER BY ").push(id).push(" DESC LIMIT 1 OFFSET ");
        DB::bind(&mut q, &(LOOKED_AT - 1).into());
        q
    }

    /// The page.
    fn rows<DB: Binds>(&self, lead: Option<usize>, bottom: Option<C>) -> QueryBuilder<DB> {
        let leading = lead.and_then(|index| self.conditions.get(index));
        let (table, id, on) = self.source(lead);
        let mut q = QueryBuilder::new(self.select);
        let named = matches!(leading, Some(Condition::Named { .. }));
        // Under another name, so that no column of it is taken for one of the listed table.
        let order = if named { "named.named_id".to_owned() } else { format!("{table}.id") };
        if named {
            q.push(format_args!("JOIN (SELECT {id} AS named_id FROM {table}"));
            self.range(&mut q, id, &on);
            q.push(format_args!(") AS named ON named.named_id = {}.id WHERE 1 = 1", self.table));
        } else {
            self.range(&mut q, id, &on);
            q.push(if on.is_empty() && self.after.is_none() { " WHERE 1 = 1" } else { "" });
        }
        if let Some(bottom) = bottom {
            q.push(format_args!(" AND {order} >= "));
            DB::bind(&mut q, &bottom.into());
        }
        if matches!(leading, Some(Condition::Named { scoped: false, .. })) {
            for (column, wanted) in &self.scope {
                choose(&mut q, column, wanted);
            }
        }
        for (index, condition) in self.conditions.iter().enumerate() {
            match condition {
                _ if Some(index) == lead => {}
                Condition::Column(column, wanted) => choose(&mut q, column, wanted),
                Condition::Named { table, id, on, .. } => {
                    q.push(format_args!(" AND EXISTS (SELECT 1 FROM {table} WHERE "));
                    equal(&mut q, on);
                    q.push(format_args!(" AND {table}.{id} = {}.id)", self.table));
                }
            }
        }
        q.push(format_args!(" ORDER BY {order} DESC LIMIT "));
        DB::bind(&mut q, &i64::from(self.limit).into());
        q
    }
}
