//! Measures the engine's own cost: workflows of five nodes and more, without models and Python.

use async_trait::async_trait;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use runyard_engine::{Engine, EngineConfig, JobError, JobRunner, JobTurn, PythonError, PythonRunner};
use runyard_runs::{
    App, AppId, Engine as _, File, FileId, FileStore, NewFile, NewRun, RunContext, RunId, StoreError,
    SystemClock, Timestamp, Upload,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Duration};
use uuid::Uuid;

struct Nothing;

#[async_trait]
impl JobRunner for Nothing {
    async fn turn(&self, _: AppId) -> Result<Box<dyn JobTurn>, JobError> {
        unreachable!("no workflow here has jobs")
    }
}

#[async_trait]
impl PythonRunner for Nothing {
    async fn run(
        &self,
        _: AppId,
        _: &str,
        _: &Map<String, Value>,
        _: bool,
        _: Option<Duration>,
    ) -> Result<Value, PythonError> {
        Ok(Value::Null)
    }
}

#[async_trait]
impl FileStore for Nothing {
    async fn create(&self, _: NewFile) -> Result<Box<dyn Upload>, StoreError> {
        unreachable!("no workflow here stores files")
    }

    async fn get(&self, _: AppId, _: FileId) -> Result<Option<File>, StoreError> {
        Ok(None)
    }

    async fn open(
        &self,
        _: AppId,
        _: FileId,
    ) -> Result<Option<futures::stream::BoxStream<'static, Result<bytes::Bytes, StoreError>>>, StoreError>
    {
        Ok(None)
    }

    async fn delete(&self, _: AppId, _: FileId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete_expired(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

fn flows(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (name, input) in [("passes", json!({"q": "hi"})), ("choice", json!({"n": 7, "tag": "abc"}))] {
        let path = format!("{}/../../tests/dynamiq/cases/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("a case");
        let id = "5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009";
        let app: App = serde_json::from_value(json!({
            "id": id, "project": id, "organization": id, "name": name, "version": "1",
            "workflow": {"file": "workflow.yaml", "text": text},
        }))
        .expect("an app");
        let engine = Engine::new(EngineConfig {
            python: Arc::new(Nothing),
            jobs: Arc::new(Nothing),
            env: Arc::new(|_, _| Ok(Some("http://127.0.0.1:9".into()))),
            allow_loopback: false,
            any_env: true,
        });
        engine.check(&app).expect("the case loads");
        let Value::Object(input) = input else { unreachable!("an object, as written above") };
        let input = Arc::new(input);
        let context = || {
            let new = NewRun {
                id: RunId(Uuid::from_u128(1)),
                app: app.id,
                app_version: app.version.clone(),
                created_at: Timestamp(0),
                expires_at: Timestamp(i64::MAX),
                input: Arc::clone(&input),
                user_id: None,
                session_id: None,
                metadata: BTreeMap::new(),
                files: Vec::new(),
                retry_of: None,
                origin: runyard_runs::Origin::Key,
            };
            RunContext::detached(new, Arc::new(Nothing), Arc::new(SystemClock), &[], |logged| {
                drop(black_box(logged));
            })
        };
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter_batched(
                context,
                |context| engine.execute(&app, context),
                BatchSize::SmallInput,
            );
        });
        criterion.bench_function(&format!("{name}: load"), |bencher| {
            bencher.iter_batched(
                || {
                    Engine::new(EngineConfig {
                        python: Arc::new(Nothing),
                        jobs: Arc::new(Nothing),
                        env: Arc::new(|_, _| Ok(Some("http://127.0.0.1:9".into()))),
                        allow_loopback: false,
                        any_env: true,
                    })
                },
                |engine| engine.check(&app),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, flows);
criterion_main!(benches);
