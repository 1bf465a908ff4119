//! Plans as they are printed, a part after the other.

use anyhow::Context;

use crate::api::v1alpha1::Mode;
use crate::api::wire::{PlanLine, RunState, RunStatus};

use crate::cli::output::OutputFormat;

/// What was printed so far, as far as the next part depends on it.
#[derive(Debug)]
pub(super) struct Sheet {
    format: OutputFormat,
    plans: usize,
    lines: usize,
    /// How wide the columns of references and of rules have become.
    widths: (usize, usize),
}

impl Sheet {
    /// An empty one.
    pub(super) fn new(format: OutputFormat) -> Self {
        Self { format, plans: 0, lines: 0, widths: (0, 0) }
    }

    /// What comes before all plans.
    pub(super) fn begin(&self, is_empty: bool) -> String {
        match (self.format, is_empty) {
            (OutputFormat::Table, true) => "No policy has planned anything yet.\n".to_owned(),
            (OutputFormat::Table, false) => String::new(),
            (OutputFormat::Json, _) => "{\"plans\":[".to_owned(),
            (OutputFormat::Yaml, true) => "plans: []\n".to_owned(),
            (OutputFormat::Yaml, false) => "plans:\n".to_owned(),
        }
    }

    /// What comes before the lines of a plan.
    ///
    /// # Errors
    /// Where it could not be written as data.
    pub(super) fn plan(&mut self, plan: &RunStatus) -> anyhow::Result<String> {
        let is_first = self.plans == 0;
        self.plans += 1;
        (self.lines, self.widths) = (0, (0, 0));
        Ok(match self.format {
            OutputFormat::Table => {
                let left = plan.left_out.iter();
                let left: Vec<String> =
                    left.map(|left| format!("  {} stayed: {}\n", left.reference, left.reason)).collect();
                format!("{}{}\n{}", if is_first { "" } else { "\n" }, headline(plan), left.concat())
            }
            OutputFormat::Json => {
                let text = serde_json::to_string(plan).context("could not write JSON")?;
                let open = text.strip_suffix('}').unwrap_or_default();
                format!("{}\n{open},\"lines\":[", if is_first { "" } else { "," })
            }
            OutputFormat::Yaml => {
                let text = serde_yaml::to_string(plan).context("could not write YAML")?;
                let indented: Vec<String> = text.lines().map(|line| format!("  {line}\n")).collect();
                format!("-{}  lines:\n", indented.concat().get(1..).unwrap_or_default())
            }
        })
    }

    /// Some lines of a plan.
    ///
    /// # Errors
    /// Where they could not be written as data.
    pub(super) fn lines(&mut self, lines: &[PlanLine]) -> anyhow::Result<String> {
        let mut text = String::new();
        if self.format == OutputFormat::Table {
            let widest = |of: fn(&PlanLine) -> usize| lines.iter().map(of).max().unwrap_or_default();
            let (references, rules) = (widest(|line| line.reference.len()), widest(|line| rule(line).len()));
            self.widths = (self.widths.0.max(references).max(9), self.widths.1.max(rules).max(4));
            if self.lines == 0 && !lines.is_empty() {
                text.push_str(&self.row("DECISION", "REFERENCE", "RULE", "REASON"));
            }
        }
        for line in lines {
            let data = || serde_json::to_string(line).context("could not write a line");
            let line = match self.format {
                OutputFormat::Table => {
                    self.row(&format!("{:?}", line.decision), &line.reference, rule(line), &line.reason)
                }
                OutputFormat::Json => format!("{}\n{}", if self.lines == 0 { "" } else { "," }, data()?),
                // What is JSON is YAML.
                OutputFormat::Yaml => format!("  - {}\n", data()?),
            };
            text.push_str(&line);
            self.lines += 1;
        }
        Ok(text)
    }

    fn row(&self, decision: &str, reference: &str, rule: &str, reason: &str) -> String {
        let (references, rules) = self.widths;
        format!("{decision:<8}  {reference:<references$}  {rule:<rules$}  {reason}\n")
    }

    /// What comes after the lines of a plan.
    pub(super) fn end_of_plan(&self) -> String {
        match self.format {
            OutputFormat::Table if self.lines == 0 => "nothing\n".to_owned(),
            OutputFormat::Json => "\n]}".to_owned(),
            OutputFormat::Yaml if self.lines == 0 => "    []\n".to_owned(),
            OutputFormat::Table | OutputFormat::Yaml => String::new(),
        }
    }

    /// What comes after all plans.
    pub(super) fn end(&self) -> String {
        if self.format == OutputFormat::Json { "\n]}\n".to_owned() } else { String::new() }
    }
}

fn rule(line: &PlanLine) -> &str {
    line.rule.as_deref().unwrap_or("-")
}

/// A plan in one line.
fn headline(run: &RunStatus) -> String {
    let Some(plan) = &run.plan else { return format!("policy {}, run {}", run.policy, run.run) };
    let mode = if run.mode == Mode::DryRun { "would delete" } else { "deletes" };
    let state = match (run.state, run.awaits) {
        (RunState::AwaitingApproval, Some(awaits)) => {
            format!("; waits until {:.0} for approval of its hash {}", awaits.expires_at, plan.hash)
        }
        (RunState::Completed, _) => String::new(),
        (state, _) => format!("; {state:?}"),
    };
    let (deletes, keeps) = (plan.deletes, plan.keeps);
    format!("policy {}, planned {:.0}: {mode} {deletes}, keeps {keeps}{state}", run.policy, plan.created_at)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(policy: &str) -> RunStatus {
        let status = json!({"run": "r", "policy": policy, "mode": "Enforce", "state": "AwaitingApproval",
            "createdAt": "2026-07-01T12:00:00Z", "planLines": 2,
            "awaits": {"brake": "Manual", "expiresAt": "2026-07-08T12:00:00Z"},
            "plan": {"hash": "abc", "createdAt": "2026-07-01T12:00:00Z", "tagsInScope": 2, "deletes": 1, "keeps": 1,
                "protectedInUse": 0, "reclaimableBytes": 0}});
        serde_json::from_value(status).unwrap()
    }

    fn line(tag: &str, decision: &str, rule: Option<&str>) -> PlanLine {
        let reference = format!("team/app:{tag}");
        serde_json::from_value(json!({"reference": reference, "decision": decision, "rule": rule, "reason": "it: so"}))
            .unwrap()
    }

    /// Two plans, the first in two parts, the second empty.
    fn printed(format: OutputFormat) -> String {
        let mut sheet = Sheet::new(format);
        let mut text = sheet.begin(false);
        text.push_str(&sheet.plan(&plan("a/p")).unwrap());
        text.push_str(&sheet.lines(&[line("v1", "Delete", Some("newest"))]).unwrap());
        text.push_str(&sheet.lines(&[line("v2-and-more", "Keep", None)]).unwrap());
        text.push_str(&sheet.end_of_plan());
        text.push_str(&sheet.plan(&plan("b/p")).unwrap());
        text.push_str(&sheet.lines(&[]).unwrap());
        text + &sheet.end_of_plan() + &sheet.end()
    }

    #[test]
    fn parts_make_one_document() {
        let json: Value = serde_json::from_str(&printed(OutputFormat::Json)).unwrap();
        let yaml: Value = serde_yaml::from_str(&printed(OutputFormat::Yaml)).unwrap();
        assert_eq!(json, yaml);
        assert_eq!(json["plans"][0]["plan"]["hash"], "abc");
        assert_eq!(json["plans"][0]["lines"][1]["reference"], "team/app:v2-and-more");
        assert_eq!(json["plans"][1]["lines"], json!([]));
        let none = |format| Sheet::new(format).begin(true) + &Sheet::new(format).end();
        assert_eq!(serde_json::from_str::<Value>(&none(OutputFormat::Json)).unwrap(), json!({"plans": []}));
        assert_eq!(serde_yaml::from_str::<Value>(&none(OutputFormat::Yaml)).unwrap(), json!({"plans": []}));
    }

    #[test]
    fn table_names_its_columns_once() {
        let text = printed(OutputFormat::Table);
        assert_eq!(text.matches("REFERENCE").count(), 1);
        assert!(
            text.starts_with("policy a/p, planned 2026-07-01T12:00:00Z: deletes 1, keeps 1; waits until 2026-07-08")
        );
        assert!(text.contains("Delete    team/app:v1  newest  it: so"), "{text}");
        assert!(text.contains("Keep      team/app:v2-and-more  -       it: so"), "{text}");
    }
}
