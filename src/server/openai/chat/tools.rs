//! Tools that a model may call, and which of them it must.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::capability::ResponseFormat;
use crate::server::api_error::ApiError;
use crate::server::json_form::compact;

/// Whether a tool is called.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "tool_choice is auto, none, required, or {\"type\": \"function\", \"function\": {\"name\": ...}}"
)]
pub(super) enum ToolChoice {
    Way(Way),
    Named { function: Name },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    Auto,
    None,
    Required,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Name {
    name: String,
}

/// Tools as a conversation has them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tools {
    /// What the model's template is told: none if none may be called.
    pub(super) told: Vec<Value>,
    /// Their names.
    pub(super) names: Vec<String>,
    /// The form of an answer that must be a call.
    pub(super) form: Option<ResponseFormat>,
}

impl Tools {
    /// Of `tools`, which are functions, those that may be called, and the form of a call where one must be.
    pub(super) fn of(tools: &[Value], choice: Option<&ToolChoice>) -> Result<Self, ApiError> {
        let names =
            tools.iter().enumerate().map(|(at, tool)| name_of(at, tool)).collect::<Result<Vec<_>, _>>()?;
        let must = match choice {
            None | Some(ToolChoice::Way(Way::Auto)) => Vec::new(),
            Some(ToolChoice::Way(Way::None)) => return Ok(Self::default()),
            Some(ToolChoice::Way(Way::Required)) => tools.iter().collect(),
            Some(ToolChoice::Named { function: Name { name } }) => {
                let at = names.iter().position(|known| known == name);
                let message = "it names none of the tools";
                vec![&tools[at.ok_or_else(|| ApiError::invalid("tool_choice", message))?]]
            }
        };
        if tools.is_empty() && choice == Some(&ToolChoice::Way(Way::Required)) {
            return Err(ApiError::invalid("tool_choice", "a call is required, and there are no tools"));
        }
        let form = (!must.is_empty()).then(|| compact(one_of(&must)));
        Ok(Self { told: tools.to_vec(), names, form })
    }
}

fn name_of(at: usize, tool: &Value) -> Result<String, ApiError> {
    let wrong = |message: &str| ApiError::invalid(format!("tools[{at}]"), message);
    if tool.get("type").is_some_and(|kind| kind != "function") {
        return Err(wrong("only functions can be called: its type is not \"function\""));
    }
    let name = tool.pointer("/function/name").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| wrong("its function has no name"))
}

/// The form of a call of one of `tools`.
fn one_of(tools: &[&Value]) -> Value {
    let call = |tool: &&Value| {
        let nothing = json!({ "type": "object" });
        let arguments = tool.pointer("/function/parameters").filter(|schema| schema.is_object());
        json!({
            "type": "object",
            "properties": { "name": { "const": tool["function"]["name"] }, "arguments": arguments.unwrap_or(&nothing) },
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    match tools {
        [tool] => call(tool),
        tools => json!({ "anyOf": tools.iter().map(call).collect::<Vec<_>>() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Vec<Value> {
        let parameters = json!({ "type": "object", "properties": { "at": { "type": "integer" } } });
        vec![
            json!({ "type": "function", "function": { "name": "look", "parameters": parameters } }),
            json!({ "type": "function", "function": { "name": "go" } }),
        ]
    }

    fn choose(choice: Value) -> Result<Tools, ApiError> {
        let choice: ToolChoice = serde_json::from_value(choice).unwrap();
        Tools::of(&tools(), Some(&choice))
    }

    fn schema(tools: Tools) -> Value {
        let Some(ResponseFormat::JsonSchema(mut schema)) = tools.form else { panic!("no form") };
        schema.as_object_mut().unwrap().remove("x-guidance").expect("it is compact");
        schema
    }

    #[test]
    fn a_choice_says_what_may_and_what_must_be_called() {
        let free = Tools { told: tools(), names: vec!["look".to_owned(), "go".to_owned()], form: None };
        assert_eq!(Tools::of(&tools(), None).unwrap(), free);
        assert_eq!(choose(json!("auto")).unwrap(), free);
        assert_eq!(choose(json!("none")).unwrap(), Tools::default());
        let required = schema(choose(json!("required")).unwrap());
        assert_eq!(required["anyOf"][0]["properties"]["name"], json!({ "const": "look" }));
        assert_eq!(required["anyOf"][1]["properties"]["arguments"], json!({ "type": "object" }));
        let named = schema(choose(json!({ "type": "function", "function": { "name": "look" } })).unwrap());
        assert_eq!(named, required["anyOf"][0]);
        assert_eq!(named["properties"]["arguments"]["properties"]["at"]["type"], "integer");
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        let wrong = |result: Result<Tools, ApiError>| result.unwrap_err().param.unwrap();
        assert_eq!(wrong(choose(json!({ "function": { "name": "fly" } }))), "tool_choice");
        assert_eq!(wrong(Tools::of(&[], Some(&ToolChoice::Way(Way::Required)))), "tool_choice");
        for tool in
            [json!({}), json!(1), json!({ "type": "web_search" }), json!({ "function": { "name": "" } })]
        {
            assert_eq!(wrong(Tools::of(&[tool], None)), "tools[0]");
        }
        assert!(serde_json::from_value::<ToolChoice>(json!("always")).is_err());
    }
}
