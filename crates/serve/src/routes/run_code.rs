//! `POST /run_code`: programs in the form of SandboxFusion, which verl and ROLL speak. Python only.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::body::{in_place, parse, read};
use crate::http_error::{HttpError, json_response};
use crate::program::{NotRun, ProgramEnd, ProgramRun, UntrustedProgram};
use crate::server::ServeState;

/// Largest time of a run, in seconds, whatever the request asks for.
const MAX_SECONDS: f64 = 120.0;

/// Largest memory of a run, in MiB, and that of a request without a limit.
const MAX_MEGABYTES: i64 = 4096;

/// Longest wait for a place to run in. verl's client gives up 10 seconds after the time of the run, and tries 504 again.
const PATIENCE: Duration = Duration::from_secs(8);

/// A request of SandboxFusion, `RunCodeRequest`. Unknown keys are ignored, as there, and so is `compile_timeout`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct RunCodeRequest {
    /// The program.
    pub code: String,
    /// The language; only `python` runs here.
    pub language: String,
    /// Text for the standard input.
    #[serde(default)]
    pub stdin: Option<String>,
    /// Largest time of the run, in seconds, at most 120.
    #[serde(default = "ten")]
    pub run_timeout: f64,
    /// Largest memory, in MiB; -1 for the server's limit of 4096.
    #[serde(default = "no_limit", rename = "memory_limit_MB")]
    pub memory_limit_mb: i64,
    /// Files for the program, in base64. Not supported: a request with files gets the status `SandboxError`.
    #[serde(default)]
    pub files: Map<String, Value>,
    /// Files of the program to send back. Not supported: a request for files gets the status `SandboxError`.
    #[serde(default)]
    pub fetch_files: Vec<String>,
}

fn ten() -> f64 {
    10.0
}

fn no_limit() -> i64 {
    -1
}

/// An answer of SandboxFusion, `RunCodeResponse`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunCodeAnswer {
    /// `Success` (exit code 0), `Failed` (another exit code, or out of time), or `SandboxError` (the program was not run).
    pub status: &'static str,
    /// Why the program was not run; else empty.
    pub message: String,
    /// Always `null`: Python is not compiled.
    pub compile_result: Option<CommandRun>,
    /// The run; `null` if there was none.
    pub run_result: Option<CommandRun>,
    /// Always `null`.
    pub executor_pod_name: Option<String>,
    /// Always empty.
    pub files: Map<String, Value>,
}

/// A run, `CommandRunResult` of SandboxFusion.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CommandRun {
    /// `Finished` or `TimeLimitExceeded`.
    pub status: &'static str,
    /// Wall time in seconds.
    pub execution_time: f64,
    /// The exit code; `null` if the time was over.
    pub return_code: Option<i32>,
    /// What the program wrote to standard output, at most 1 MiB.
    pub stdout: String,
    /// What the program wrote to standard error, at most 1 MiB.
    pub stderr: String,
}

pub async fn answer(State(state): State<ServeState>, request: Request) -> Result<Response, HttpError> {
    let body = read(request, &state.bodies, &state.options).await?;
    let request: RunCodeRequest = in_place(body.bytes.len(), || parse(&body.bytes))?;
    if request.language != "python" {
        return Ok(other_language(&request.language));
    }
    if !(request.run_timeout > 0.0 && request.run_timeout.is_finite()) {
        let why = format!("`run_timeout` is {}; it must be a number of seconds above 0", request.run_timeout);
        return Err(HttpError::bad_request("wrong_timeout", why));
    }
    if !request.files.is_empty() || !request.fetch_files.is_empty() {
        return Ok(json_response(&not_run("`files` and `fetch_files` are not taken by rlar serve".into())));
    }
    let megabytes =
        if request.memory_limit_mb <= 0 { MAX_MEGABYTES } else { request.memory_limit_mb.min(MAX_MEGABYTES) };
    let program = UntrustedProgram {
        source: request.code,
        input: request.stdin.unwrap_or_default(),
        wall: Duration::from_secs_f64(request.run_timeout.min(MAX_SECONDS)),
        memory: (megabytes as u64) << 20,
    };
    match state.programs.run(program, PATIENCE).await {
        Ok(run) => Ok(json_response(&ran(run))),
        Err(NotRun::Sandbox(why)) => Ok(json_response(&not_run(why))),
        Err(NotRun::Busy) => {
            let why = "too many programs wait to be run; send the request again";
            let busy = HttpError::new(StatusCode::GATEWAY_TIMEOUT, "busy", why);
            Err(busy.retry_after(Duration::from_secs(1)))
        }
    }
}

fn ran(run: ProgramRun) -> RunCodeAnswer {
    let (status, run_status, return_code) = match run.end {
        ProgramEnd::Exited(0) => ("Success", "Finished", Some(0)),
        ProgramEnd::Exited(code) => ("Failed", "Finished", Some(code)),
        ProgramEnd::TimeLimit => ("Failed", "TimeLimitExceeded", None),
    };
    let ProgramRun { stdout, stderr, seconds, .. } = run;
    let run = CommandRun { status: run_status, execution_time: seconds, return_code, stdout, stderr };
    RunCodeAnswer { run_result: Some(run), ..without_run(status, String::new()) }
}

fn not_run(message: String) -> RunCodeAnswer {
    without_run("SandboxError", message)
}

fn without_run(status: &'static str, message: String) -> RunCodeAnswer {
    RunCodeAnswer {
        status,
        message,
        compile_result: None,
        run_result: None,
        executor_pod_name: None,
        files: Map::new(),
    }
}

/// The answer to a language that is not known: 422 with what FastAPI says there.
fn other_language(language: &str) -> Response {
    let detail = json!({ "detail": [{
        "type": "literal_error",
        "loc": ["body", "language"],
        "msg": "Input should be 'python'",
        "input": language,
        "ctx": { "expected": "'python'" },
    }]});
    let mut response = json_response(&detail);
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    response.into_response()
}
