//! Job: the text of the file that makes sysctls last.
//! Knows: sysctl.d(5). Must never know: where values come from.

use super::knob::Knob;

/// Where it is.
pub const PATH: &str = "/etc/sysctl.d/60-fanwire.conf";

/// The first line of what `apply --persist` writes.
pub const MARK: &str = "# Written by `fanwire tune apply --persist`; `fanwire tune revert` takes it away.";

/// The file for these sysctls and values.
pub fn text<'a>(values: impl Iterator<Item = (&'a Knob, &'a str)>) -> String {
    let mut text = format!("{MARK}\n");
    for (knob, value) in values {
        text += &format!("\n# {}\n{}\n", knob.rule, line(knob, value));
    }
    text
}

/// One assignment. A leading `-` lets a sysctl be missing: that of a kernel module which is loaded later.
pub fn line(knob: &Knob, value: &str) -> String {
    let may_be_missing = if knob.id.starts_with("net.netfilter.") { "-" } else { "" };
    format!("{may_be_missing}{} = {value}", knob.id)
}
