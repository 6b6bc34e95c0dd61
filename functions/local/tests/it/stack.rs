//! `--stack`: the command line on an emulator of AWS, which the usual AWS environment variables select.

use crate::harness::{Done, ECHO, Home, ORGANIZATION};
use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const MINISTACK: &str = "ministack==1.5.33";

/// The part of `template.yaml` that the commands need: a stack with these outputs.
const TEMPLATE: &str = r#"{
  "Resources": {
    "Table": {"Type": "AWS::DynamoDB::Table", "Properties": {
      "BillingMode": "PAY_PER_REQUEST",
      "AttributeDefinitions": [{"AttributeName": "PK", "AttributeType": "S"}, {"AttributeName": "SK", "AttributeType": "S"}],
      "KeySchema": [{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}]}},
    "Bucket": {"Type": "AWS::S3::Bucket"}
  },
  "Outputs": {"Table": {"Value": {"Ref": "Table"}}, "Bucket": {"Value": {"Ref": "Bucket"}}}
}"#;

/// The test's own emulator, killed when dropped.
struct Emulator {
    child: Child,
    url: String,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Emulator {
    /// Starts the emulator, after installing it into `target/` if needed. If that fails, prints why and returns `None`; in
    /// CI it panics.
    fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(emulator) => Some(emulator),
            Err(why) => {
                assert!(env::var("CI").as_deref() != Ok("true"), "no emulator of AWS: {why}");
                eprintln!("skipped: no emulator of AWS: {why}");
                None
            }
        }
    }

    fn try_start() -> Result<Self, String> {
        let venv = install()?;
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(venv.join("bin/ministack"))
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("IOT_MTLS_ENABLED", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let emulator = Self { child, url: format!("http://127.0.0.1:{port}") };
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > crate::harness::PATIENCE {
                return Err("it does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(emulator)
    }

    async fn create_stack(&self, name: &str) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/?Action=CreateStack&Version=2010-05-15&StackName={name}", self.url);
        // The signature names the service; the emulator does not verify it.
        let credential = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/cloudformation/aws4_request, \
                          SignedHeaders=host, Signature=0";
        let body: String =
            TEMPLATE.bytes().fold("TemplateBody=".to_owned(), |text, byte| format!("{text}%{byte:02X}"));
        let request = client.post(url).header("authorization", credential);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn run(&self, home: &Home, arguments: &[&str]) -> Done {
        let mut command = home.command(arguments);
        command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env_remove("AWS_PROFILE");
        Done::from(command.output().await.unwrap())
    }
}

/// Installs to the same place as the tests of `runyard-aws`, with the same lock.
fn install() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (venv, done) = (home.join("ministack-1.5.33"), home.join("ministack-1.5.33.done"));
    fs::create_dir_all(home).map_err(|error| error.to_string())?;
    let lock = fs::File::create(home.join("ministack-1.5.33.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if done.exists() {
        return Ok(venv);
    }
    let _ = fs::remove_dir_all(&venv);
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(venv.join("bin/python")).args(["-m", "pip", "install", "--quiet", MINISTACK]))?;
    fs::File::create(done).map_err(|error| error.to_string())?;
    Ok(venv)
}

#[tokio::test]
async fn apps_are_deployed_and_keys_created_on_a_stack() {
    let Some(aws) = Emulator::start() else { return };
    aws.create_stack("prod").await;
    let home = Home::new();
    let echo = home.apps().join("echo");
    let echo = echo.to_str().unwrap();

    let first = aws.run(&home, &["apps", "deploy", echo, "--stack", "prod", "--json"]).await;
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!((&first.json()["changed"], &first.json()["before"]), (&true.into(), &().into()));
    let first = first.json()["version"].as_str().unwrap().to_owned();
    let again = aws.run(&home, &["apps", "deploy", "echo", "--stack", "prod"]).await;
    assert_eq!(again.out, format!("echo {first} is already current on the stack prod\n"));

    home.app("echo", "hosts: [echo.example.com]\nenv: [MODEL, {KEY: 'ssm:/prod/key'}]\n", ECHO);
    let second = aws.run(&home, &["apps", "deploy", "echo", "--stack", "prod"]).await;
    assert_eq!(second.code, 0, "{}", second.err);
    assert!(second.err.contains("MODEL must be set in the functions' environment"), "{}", second.err);
    let listed = aws.run(&home, &["apps", "list", "--stack", "prod", "--json"]).await.json();
    assert_eq!(listed["hosts"], serde_json::json!(["echo.*", "echo.example.com"]));

    let back =
        aws.run(&home, &["apps", "rollback", "echo", "--version", &first[..8], "--stack", "prod"]).await;
    assert_eq!(back.code, 0, "{}", back.err);
    let versions = aws.run(&home, &["apps", "versions", "echo", "--stack", "prod", "--json"]).await;
    let current: Vec<serde_json::Value> = versions
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|version: &serde_json::Value| version["current"] == true)
        .collect();
    assert_eq!((current.len(), current[0]["version"].as_str()), (1, Some(first.as_str())));

    let made = aws.run(&home, &["keys", "create", "--stack", "prod", "--json"]).await;
    assert_eq!(made.code, 0, "{}", made.err);
    assert_eq!(made.json()["organization"], ORGANIZATION, "that of the deployed apps");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let whole = made.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(aws.run(&home, &["keys", "revoke", &whole, "--stack", "prod"]).await.code, 0);
    let listed = aws.run(&home, &["keys", "list", "--stack", "prod", "--json"]).await.json();
    assert_eq!((&listed["id"], &listed["status"]), (&id.into(), &"revoked".into()));
    assert!(!home.data().exists(), "no local data directory was created");
}

#[tokio::test]
async fn errors_on_a_stack_are_reported_with_their_exit_codes() {
    let Some(aws) = Emulator::start() else { return };
    aws.create_stack("prod").await;
    let home = Home::new();
    home.app("other", "hosts: [taken.example.com]\n", ECHO);
    home.app("broken", "", "nodes: {n: {type: nothing}}\n");
    assert_eq!(aws.run(&home, &["apps", "deploy", "other", "--stack", "prod"]).await.code, 0);
    home.app("echo", "hosts: [taken.example.com]\n", ECHO);
    for (arguments, code, message) in [
        (&["apps", "deploy", "echo", "--stack", "nope"][..], 2, "there is no stack nope in us-east-1"),
        (&["apps", "deploy", "echo"], 2, "give --stack NAME"),
        (&["apps", "deploy", "echo", "--stack", "prod"], 3, "taken.example.com belongs to the app other"),
        (&["apps", "deploy", "broken", "--stack", "prod"], 1, "workflow.yaml"),
        (&["apps", "rollback", "other", "--version", "ffff", "--stack", "prod"], 2, "has no version ffff"),
        (&["apps", "versions", "echo", "--stack", "prod"], 2, "there are other"),
        (&["keys", "revoke", "0000000000000000", "--stack", "prod"], 2, "in the stack prod"),
    ] {
        let done = aws.run(&home, arguments).await;
        assert_eq!(done.code, code, "{arguments:?}: {}", done.err);
        assert!(done.err.contains(message), "{arguments:?}: {}", done.err);
    }
}
