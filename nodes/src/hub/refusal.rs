//! What the hub's refusals mean, and what to do about them.

use flow_engine::Problem;
use ureq::Body;
use ureq::http::Response;

use super::client::Failure;
use super::id::HubId;
use super::settings::HubSettings;

/// What an answer that is none says of a model, or of a file in it.
pub(super) fn of(
    response: &Response<Body>,
    id: &HubId,
    file: Option<&str>,
    settings: &HubSettings,
) -> Failure {
    let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
    let endpoint = &settings.endpoint;
    Failure::Refused(match (response.status().as_u16(), code) {
        (403, _) | (401, "GatedRepo") => gated(id, settings),
        (401, _) => unknown_or_private(id, settings),
        (404, "RevisionNotFound") => {
            Problem::new(format!("`{}` has no revision `{}`", id.model(), id.revision))
                .hint(format!("its branches and commits are listed at {endpoint}/{}/tree/main", id.model()))
        }
        (404, _) => match file {
            Some(file) => absent_file(id, file),
            None => Problem::new(format!("{endpoint} has no model `{}`", id.model()))
                .hint("check owner and name; `hub:owner/name` is spelled as on the model's page"),
        },
        (429, _) => Problem::new(format!("{endpoint} was asked too often"))
            .hint("wait a while, or set `HF_TOKEN`: who is known may ask more often"),
        (status @ 500.., _) => {
            return Failure::Unreachable(
                Problem::new(format!("{endpoint} is in trouble and answers {status}"))
                    .hint("try again later; what has come so far is kept"),
            );
        }
        (status, _) => Problem::new(format!("{endpoint} answers {status} when asked for {id}")),
    })
}

/// A repository that is no model for Flow.
pub(super) fn incomplete(id: &HubId, missing: &[String], has_pickles: bool) -> Problem {
    let message = format!("`{}` lacks files that an SDXL model needs: {}", id.model(), missing.join(", "));
    let hint = if has_pickles {
        "it has Python pickles instead, and opening one can run any program: look for a revision or a copy \
         of it with safetensors"
    } else if missing.iter().any(|name| name == "model_index.json") {
        "Flow reads models as diffusers saves them from the hub; download a single `.safetensors` file \
         and give its path"
    } else {
        "look for a complete copy of the model, or another revision"
    };
    Problem::new(message).hint(hint)
}

fn absent_file(id: &HubId, file: &str) -> Problem {
    Problem::new(format!("`{}` lists `{file}` but does not have it", id.model()))
        .hint("tell its owner, or name another revision with `@`")
}

fn gated(id: &HubId, settings: &HubSettings) -> Problem {
    let hint = match settings.token {
        Some(_) => "accept its licence there with the account that the token in use belongs to",
        None => "accept its licence there, and set `HF_TOKEN` to a token of your account",
    };
    let page = format!("{}/{}", settings.endpoint, id.model());
    Problem::new(format!("`{}` is given only to those who accepted its licence", id.model()))
        .hint(format!("{hint}: {page}"))
}

fn unknown_or_private(id: &HubId, settings: &HubSettings) -> Problem {
    let (endpoint, model) = (&settings.endpoint, id.model());
    let problem = Problem::new(format!("{endpoint} has no model `{model}` for everybody"));
    problem.hint(match settings.token {
        Some(_) => {
            "check owner and name; if it is private or gated, the token in use does not open it".to_owned()
        }
        None => format!(
            "check owner and name; if it is private or gated, accept its licence at {endpoint}/{model} \
             and set `HF_TOKEN` to a token of your account"
        ),
    })
}
