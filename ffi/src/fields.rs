//! For tests: the fields of a struct, as its source names them.

/// The public fields of a struct, in order.
///
/// # Panics
/// If the source has no such struct.
pub fn fields_of<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let (_, behind) = source.split_once(&format!("pub struct {name} {{")).expect("the struct's source");
    let body = behind.split("\n}").next().unwrap_or_default();
    body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next()).collect()
}
