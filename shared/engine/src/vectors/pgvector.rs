//! `PostgreSQL` with the extension pgvector: search by vector, by words (full-text search), or by both, fused into one
//! ranking.

use super::{
    Columns, Query, StoreError, VectorStore,
    filter::{Filter, Operator, metadata_key, no_not},
    postgres::{Server, store_error},
};
use crate::{
    document::Document,
    flow::Call,
    load::{Fields, Loading},
    python_text,
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::collections::HashMap;
use tokio_postgres::{
    GenericClient, Row,
    types::{ToSql, Type},
};

/// Fields of the metadata that are searched for words besides the content. Existing tables have an index on exactly
/// these.
const SEARCHED_FIELDS: &[&str] = &[
    "filename",
    "file_name",
    "file_path",
    "title",
    "dynamiq_item_source_provider_title",
    "sheet_name",
    "section",
    "source",
    "url",
];
/// Added to ranks when two rankings are fused.
const RANK_CONSTANT: u32 = 60;
/// Documents written by one statement.
const BATCH: usize = 500;

#[derive(Debug)]
struct PgVector {
    server: Server,
    schema: String,
    table: String,
    content: String,
    vector: String,
    dimension: u32,
    function: Function,
    keyword_index: String,
    /// Whether a write creates the table, with its extension, schema and index.
    create: bool,
}

/// The measure that compares two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Cosine,
    InnerProduct,
    L2,
    L1,
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("cosine_similarity", Function::Cosine),
    ("inner_product", Function::InnerProduct),
    ("l2_distance", Function::L2),
    ("l1_distance", Function::L1),
];

impl Function {
    fn is_distance(self) -> bool {
        matches!(self, Self::L2 | Self::L1)
    }

    fn score(self, column: &str, vector: &str) -> String {
        match self {
            Self::Cosine => format!("(1 - ({column} <=> {vector}))"),
            Self::InnerProduct => format!("(({column} <#> {vector}) * -1)"),
            Self::L2 => format!("({column} <-> {vector})"),
            Self::L1 => format!("({column} <+> {vector})"),
        }
    }

    fn order(self) -> &'static str {
        if self.is_distance() { "ASC" } else { "DESC" }
    }
}

/// Reads the store of a node.
pub(crate) fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Box<dyn VectorStore>> {
    let server = Server::read(fields, loading);
    let text = |key: &str, default: &str| fields.text(key).unwrap_or(default).to_owned();
    let table = text("table_name", "default");
    let keyword_index = fields.text("keyword_index_name").map(str::to_owned);
    Some(Box::new(PgVector {
        schema: text("schema_name", "public"),
        content: text("content_key", "content"),
        vector: text("embedding_key", "embedding"),
        dimension: fields.count("dimension").unwrap_or(1536),
        function: fields.choice("vector_function", FUNCTIONS).unwrap_or(Function::Cosine),
        keyword_index: keyword_index.unwrap_or_else(|| format!("{table}_keyword_index_v2")),
        create: fields.bool("create_if_not_exist").unwrap_or(false),
        server: server?,
        table,
    }))
}

/// A statement and its parameters. All parameters are bound as text, and cast in the SQL.
#[derive(Default)]
struct Statement {
    sql: String,
    bound: Vec<Bound>,
}

enum Bound {
    Text(String),
    Texts(Vec<Option<String>>),
}

impl Statement {
    fn bind(&mut self, text: impl Into<String>) -> String {
        self.push(Bound::Text(text.into()))
    }

    fn bind_all(&mut self, texts: Vec<Option<String>>) -> String {
        self.push(Bound::Texts(texts))
    }

    fn push(&mut self, bound: Bound) -> String {
        self.bound.push(bound);
        format!("${}", self.bound.len())
    }

    async fn run(&self, client: &impl GenericClient) -> Result<Vec<Row>, StoreError> {
        let bound = self.bound.iter().map(|bound| match bound {
            Bound::Text(text) => (text as &(dyn ToSql + Sync), Type::TEXT),
            Bound::Texts(texts) => (texts as &(dyn ToSql + Sync), Type::TEXT_ARRAY),
        });
        let bound: Vec<_> = bound.collect();
        client.query_typed(&self.sql, &bound).await.map_err(|error| store_error(&error))
    }
}

/// Quotes an identifier for SQL.
fn name(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

fn vector_text(vector: &[f64]) -> String {
    let numbers: Vec<String> = vector.iter().map(f64::to_string).collect();
    format!("[{}]", numbers.join(","))
}

impl PgVector {
    fn table(&self) -> String {
        format!("{}.{}", name(&self.schema), name(&self.table))
    }

    /// The SQL of the text that is searched for words.
    fn searched(content: &str) -> String {
        let mut parts = vec![format!("coalesce({content}, '')")];
        parts.extend(SEARCHED_FIELDS.iter().map(|field| format!("coalesce(metadata->>'{field}', '')")));
        format!("to_tsvector('english', {})", parts.join(" || ' ' || "))
    }

    /// Creates the table if it does not exist. A lock lets only one writer at a time do so.
    async fn create(&self, client: &impl GenericClient, columns: Columns<'_>) -> Result<(), StoreError> {
        let (table, content) = (self.table(), name(columns.content.unwrap_or(&self.content)));
        let mut lookup = Statement::default();
        let given = lookup.bind(table.clone());
        lookup.sql = format!("SELECT 1 WHERE to_regclass({given}) IS NOT NULL");
        if !lookup.run(client).await?.is_empty() {
            return Ok(());
        }
        let script = format!(
            "SELECT pg_advisory_xact_lock(hashtext('runyard:vectors'));
             CREATE EXTENSION IF NOT EXISTS vector;
             CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE IF NOT EXISTS {table} (
                 id varchar(128) PRIMARY KEY, {content} text, metadata jsonb, {vector} vector({dimension}));
             CREATE INDEX IF NOT EXISTS {index} ON {table} USING gin ({searched});",
            schema = name(&self.schema),
            vector = name(columns.vector.unwrap_or(&self.vector)),
            dimension = self.dimension,
            index = name(&self.keyword_index),
            searched = Self::searched(&content),
        );
        client.batch_execute(&script).await.map_err(|error| store_error(&error))
    }

    fn check_dimension(&self, vector: &[f64], whose: &str) -> Result<(), StoreError> {
        if vector.len() == self.dimension as usize {
            return Ok(());
        }
        let (given, wanted) = (vector.len(), self.dimension);
        Err(StoreError::value(format!("{whose} has {given} dimensions, and the store {wanted}")))
    }

    fn insert(&self, documents: &[Document], columns: Columns<'_>) -> Statement {
        let mut statement = Statement::default();
        let texts = |of: fn(&Document) -> Option<String>| documents.iter().map(of).collect();
        let ids = statement.bind_all(texts(|document| document.id.clone()));
        let contents = statement.bind_all(texts(|document| Some(document.content.clone())));
        let metadata =
            statement.bind_all(texts(|document| Some(Value::from(document.metadata.clone()).to_string())));
        let vectors = statement.bind_all(texts(|document| document.embedding.as_deref().map(vector_text)));
        let content = name(columns.content.unwrap_or(&self.content));
        let vector = name(columns.vector.unwrap_or(&self.vector));
        statement.sql = format!(
            "INSERT INTO {table} (id, {content}, metadata, {vector})
             SELECT * FROM unnest({ids}, {contents}, {metadata}::jsonb[], {vectors}::vector[])
             ON CONFLICT (id) DO UPDATE SET
                 {content} = EXCLUDED.{content}, metadata = EXCLUDED.metadata, {vector} = EXCLUDED.{vector}",
            table = self.table(),
        );
        statement
    }

    fn select(&self, query: Query<'_>) -> Result<Statement, StoreError> {
        match query.words {
            Some(words) if query.alpha <= 0.0 => self.by_words(query, words),
            Some(words) if query.alpha < 1.0 => self.by_both(query, words),
            _ => self.by_vector(query),
        }
    }

    fn by_vector(&self, query: Query<'_>) -> Result<Statement, StoreError> {
        let mut statement = Statement::default();
        let content = name(query.columns.content.unwrap_or(&self.content));
        let vector = format!("{}::vector", statement.bind(vector_text(query.vector)));
        let score = self.function.score(&name(query.columns.vector.unwrap_or(&self.vector)), &vector);
        let where_clause = self.where_clause("WHERE", query, &mut statement)?;
        statement.sql = format!(
            "SELECT id, {content}, metadata::text, {score}::text FROM {table} {where_clause}
             ORDER BY {score} {order}, id LIMIT {limit}",
            table = self.table(),
            order = self.function.order(),
            limit = query.limit,
        );
        Ok(statement)
    }

    fn by_words(&self, query: Query<'_>, words: &str) -> Result<Statement, StoreError> {
        let mut statement = Statement::default();
        let content = name(query.columns.content.unwrap_or(&self.content));
        let searched = Self::searched(&content);
        let words = format!("plainto_tsquery('english', {})", statement.bind(words));
        let where_clause = self.where_clause("AND", query, &mut statement)?;
        statement.sql = format!(
            "SELECT id, {content}, metadata::text, ts_rank_cd({searched}, words)::text
             FROM {table}, {words} words WHERE {searched} @@ words {where_clause}
             ORDER BY ts_rank_cd({searched}, words) DESC, id LIMIT {limit}",
            table = self.table(),
            limit = query.limit,
        );
        Ok(statement)
    }

    /// Fuses two searches by rank: a document's score is the sum of `weight / (60 + rank)` over the searches that found
    /// it.
    fn by_both(&self, query: Query<'_>, words: &str) -> Result<Statement, StoreError> {
        let mut statement = Statement::default();
        let content = name(query.columns.content.unwrap_or(&self.content));
        let vector = format!("{}::vector", statement.bind(vector_text(query.vector)));
        let score = self.function.score(&name(query.columns.vector.unwrap_or(&self.vector)), &vector);
        let words = format!("plainto_tsquery('english', {})", statement.bind(words));
        let alpha = format!("{}::numeric", statement.bind(query.alpha.to_string()));
        let searched = Self::searched(&content);
        let near = self.where_clause("WHERE", query, &mut statement)?;
        let named = self.where_clause("AND", query, &mut statement)?;
        let one_sided = query.alpha < 0.1 || query.alpha > 0.9;
        let candidates =
            if one_sided { (query.limit * 2).max(20) } else { query.limit.saturating_mul(4).max(50) };
        statement.sql = format!(
            "WITH near AS (
                 SELECT id, {content} AS content, metadata, rank() OVER (ORDER BY {score} {order}) AS rank
                 FROM {table} {near} ORDER BY rank, id LIMIT {candidates}
             ), named AS (
                 SELECT id, {content} AS content, metadata,
                     rank() OVER (ORDER BY ts_rank_cd({searched}, words) DESC) AS rank
                 FROM {table}, {words} words WHERE {searched} @@ words {named} ORDER BY rank, id LIMIT {candidates}
             ), joined AS (
                 SELECT coalesce(near.id, named.id) AS id, coalesce(near.content, named.content) AS content,
                     coalesce(near.metadata, named.metadata) AS metadata,
                     coalesce({alpha} / ({RANK_CONSTANT} + near.rank), 0)
                         + coalesce((1 - {alpha}) / ({RANK_CONSTANT} + named.rank), 0) AS score
                 FROM near FULL OUTER JOIN named ON near.id = named.id
             )
             SELECT id, content, metadata::text, score::text FROM joined ORDER BY score DESC, id LIMIT {limit}",
            table = self.table(),
            order = self.function.order(),
            limit = query.limit,
        );
        Ok(statement)
    }

    /// The query's filter as a clause that begins with `word`; empty without a filter.
    fn where_clause(
        &self,
        word: &str,
        query: Query<'_>,
        statement: &mut Statement,
    ) -> Result<String, StoreError> {
        match query.filter {
            Some(filter) => Ok(format!("{word} {}", self.clause(filter, statement)?)),
            None => Ok(String::new()),
        }
    }

    fn clause(&self, filter: &Filter, statement: &mut Statement) -> Result<String, StoreError> {
        let (word, filters) = match filter {
            Filter::All(filters) => (" AND ", filters),
            Filter::Any(filters) => (" OR ", filters),
            Filter::Neither(_) => return Err(no_not()),
            Filter::Field { field, operator, value } => {
                return self.comparison(field, *operator, value, statement);
            }
        };
        let clauses = filters.iter().map(|filter| self.clause(filter, statement));
        Ok(format!("({})", clauses.collect::<Result<Vec<_>, _>>()?.join(word)))
    }

    fn comparison(
        &self,
        field: &str,
        operator: Operator,
        value: &Value,
        statement: &mut Statement,
    ) -> Result<String, StoreError> {
        let column = match field {
            "id" => Some("id".to_owned()),
            _ if field == self.content || field == "content" => Some(name(&self.content)),
            _ => None,
        };
        if operator == Operator::ContainsAny {
            if column.is_some() {
                let message = format!(
                    "`{field}` cannot be compared by `contains_any`: it needs a list in the metadata"
                );
                return Err(StoreError::filter(message));
            }
            let key = statement.bind(metadata_key(field));
            let values = bind_items(value, statement);
            return Ok(format!(
                "EXISTS (SELECT 1 FROM jsonb_array_elements_text(
                     CASE WHEN jsonb_typeof(metadata->{key}) = 'array' THEN metadata->{key} ELSE '[]' END
                 ) AS item WHERE item = ANY({values}))"
            ));
        }
        let first = value.as_array().map_or(Some(value), |items| items.first());
        let cast = match first {
            _ if column.is_some() => "text",
            Some(Value::Number(_)) => "numeric",
            Some(Value::Bool(_)) => "bool",
            _ => "text",
        };
        let column = match column {
            Some(column) => column,
            None => format!("(metadata->>{})::{cast}", statement.bind(metadata_key(field))),
        };
        let word = match operator {
            Operator::Equal if value.is_null() => return Ok(format!("{column} IS NULL")),
            Operator::In => return Ok(format!("{column} = ANY({}::{cast}[])", bind_items(value, statement))),
            Operator::NotIn => {
                let items = bind_items(value, statement);
                return Ok(format!("({column} IS NULL OR {column} <> ALL({items}::{cast}[]))"));
            }
            Operator::Equal => "=",
            Operator::NotEqual => "IS DISTINCT FROM",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Less => "<",
            Operator::LessOrEqual | Operator::ContainsAny => "<=",
        };
        Ok(format!("{column} {word} {}::{cast}", statement.bind(python_text::str(value))))
    }
}

fn bind_items(value: &Value, statement: &mut Statement) -> String {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    statement.bind_all(items.iter().map(|item| Some(python_text::str(item))).collect())
}

/// Reads a row of id, content, metadata and score.
fn document(row: &Row) -> Document {
    let text = |column: usize| row.try_get::<_, Option<&str>>(column).ok().flatten();
    let metadata = text(2).and_then(|text| serde_json::from_str::<Option<Map<String, Value>>>(text).ok());
    Document {
        id: text(0).map(str::to_owned),
        content: text(1).unwrap_or_default().to_owned(),
        metadata: metadata.flatten(),
        score: text(3).and_then(|text| text.parse().ok()),
        embedding: None,
    }
}

/// Keeps the last document of each id, because one statement cannot write a row twice.
fn last_of_each(documents: Vec<Document>) -> Vec<Document> {
    let last: HashMap<Option<String>, usize> =
        documents.iter().enumerate().map(|(index, document)| (document.id.clone(), index)).collect();
    let kept = documents.into_iter().enumerate();
    kept.filter(|(index, document)| last[&document.id] == *index).map(|(_, document)| document).collect()
}

#[async_trait]
impl VectorStore for PgVector {
    async fn write(
        &self,
        call: Call<'_>,
        documents: Vec<Document>,
        columns: Columns<'_>,
    ) -> Result<usize, StoreError> {
        let count = documents.len();
        for document in &documents {
            if let Some(vector) = &document.embedding {
                let id = document.id.as_deref().unwrap_or_default();
                self.check_dimension(vector, &format!("the document `{id}`"))?;
            }
        }
        let mut session = self.server.open(&call.services.http).await?;
        let transaction = session.client.transaction().await.map_err(|error| store_error(&error))?;
        if self.create {
            self.create(&transaction, columns).await?;
        }
        for documents in last_of_each(documents).chunks(BATCH) {
            self.insert(documents, columns).run(&transaction).await?;
        }
        transaction.commit().await.map_err(|error| store_error(&error))?;
        session.close().await;
        Ok(count)
    }

    async fn search(&self, call: Call<'_>, query: Query<'_>) -> Result<Vec<Document>, StoreError> {
        self.check_dimension(query.vector, "the query")?;
        let statement = self.select(query)?;
        let session = self.server.open(&call.services.http).await?;
        let rows = statement.run(&session.client).await?;
        session.close().await;
        Ok(rows.iter().map(document).collect())
    }

    fn passes(&self, score: f64, threshold: f64) -> bool {
        if self.function.is_distance() { score <= threshold } else { score >= threshold }
    }
}
