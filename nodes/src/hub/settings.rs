//! Where the hub is, where its files are kept, and who asks: the same places as the hub's Python tools.

use std::ffi::OsString;
use std::path::PathBuf;

/// How the hub is reached.
#[derive(Clone)]
pub struct HubSettings {
    /// The address of the hub, without a slash at its end.
    pub endpoint: String,
    /// The folder that holds all downloaded models.
    pub cache: PathBuf,
    /// Who asks, for models that not everybody may have.
    pub token: Option<String>,
    /// Whether nothing may be asked for.
    pub offline: bool,
}

impl HubSettings {
    /// As the environment says: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH` and
    /// `HF_HUB_OFFLINE`; and by their old names, which the Python tools still hear, `HUGGINGFACE_HUB_CACHE` and
    /// `HUGGING_FACE_HUB_TOKEN`.
    pub fn from_env() -> Self {
        Self::from(|name| std::env::var_os(name))
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let user = variable("HOME").map(PathBuf::from).or_else(std::env::home_dir).unwrap_or_default();
        let path = |name: &str| {
            let path = PathBuf::from(variable(name).filter(|value| !value.is_empty())?);
            Some(path.strip_prefix("~").map(|rest| user.join(rest)).unwrap_or(path))
        };
        let home = path("HF_HOME").unwrap_or_else(|| {
            path("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache")).join("huggingface")
        });
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let from_file = || {
            let token = std::fs::read_to_string(token_file).ok()?.trim().to_owned();
            (!token.is_empty()).then_some(token)
        };
        let is_true = |value: String| matches!(value.to_lowercase().as_str(), "1" | "true" | "yes" | "on");
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: path("HF_HUB_CACHE")
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| home.join("hub")),
            token: text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(from_file),
            offline: text("HF_HUB_OFFLINE").is_some_and(is_true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        HubSettings::from(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_cache_is_where_the_python_tools_have_it() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache.display().to_string();
        assert_eq!(cache(&[("HOME", "/u")]), "/u/.cache/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/u"), ("XDG_CACHE_HOME", "/c")]), "/c/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/u"), ("HF_HOME", "~/hf")]), "/u/hf/hub");
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub")]), "/hub");
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old")]), "/old");
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/hub")]), "/hub");
    }

    #[test]
    fn the_token_comes_from_the_environment_or_its_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", home)]).token.as_deref(), Some("from-file"));
        assert_eq!(settings(&[("HF_HOME", home), ("HF_TOKEN", "t")]).token.as_deref(), Some("t"));
        assert_eq!(settings(&[("HUGGING_FACE_HUB_TOKEN", "old")]).token.as_deref(), Some("old"));
        assert_eq!(settings(&[("HF_HOME", "/nowhere")]).token, None);
    }

    #[test]
    fn the_endpoint_has_no_slash_at_its_end_and_offline_is_said_in_words_too() {
        let said = settings(&[("HF_ENDPOINT", "https://mirror.test/"), ("HF_HUB_OFFLINE", "YES")]);
        assert_eq!((said.endpoint.as_str(), said.offline), ("https://mirror.test", true));
        assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).offline);
    }
}
