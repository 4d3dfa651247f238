//! The table that compares this client with Python's says what is so: every name in it exists, every test that it names
//! runs and uses what it is said to prove, and no public name of Python's client is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dask_live_tests::{PATIENCE, TestCluster, sources, workspace};
use dask_local::Protocol;

/// A line of a table, cell by cell.
type Row = Vec<String>;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of tables with so many columns, without their headings.
fn rows(columns: usize) -> Vec<Row> {
    let text = read(&workspace().join("crates/dask-client/PARITY.md"));
    let lines = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = lines.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Row>());
    let rows = cells.filter(|row| !row[0].starts_with("---") && row[0] != "Python" && row[0] != "only here");
    rows.filter(|row| row.len() == columns).collect()
}

/// What stands between backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The public functions and variants of each type of the crate.
fn public() -> BTreeMap<String, BTreeSet<String>> {
    let texts = sources(&workspace().join("crates/dask-client/src"));
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let word =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    for text in texts {
        let mut block: Option<String> = None;
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if let Some(rest) = line.strip_prefix("impl") {
                // The header may go over several lines.
                let header = lines[at..].iter().take(8).map(|line| line.trim()).collect::<Vec<_>>().join(" ");
                let header =
                    header.trim_start_matches("impl").split('{').next().unwrap_or_default().to_owned();
                let name = match header.split_once(" for ") {
                    Some((_, name)) => name.trim().to_owned(),
                    None if rest.starts_with('<') => {
                        let mut depth = 0;
                        let end = header.trim().char_indices().find(|(_, c)| {
                            depth += i32::from(*c == '<') - i32::from(*c == '>');
                            depth == 0
                        });
                        header.trim()[end.map_or(0, |(at, _)| at + 1)..].trim().to_owned()
                    }
                    None => header.trim().to_owned(),
                };
                block = Some(word(&name));
            } else if let Some(name) = line.strip_prefix("pub enum ").or(line.strip_prefix("pub trait ")) {
                block = Some(word(name));
            } else if *line == "}" {
                block = None;
            }
            let trimmed = line.trim();
            let function = trimmed.strip_prefix("pub ").unwrap_or(trimmed);
            let function = function.strip_prefix("async ").unwrap_or(function);
            let public = trimmed.starts_with("pub ")
                || block.as_deref().is_some_and(|block| block == "Wait" || block == "Iterate");
            if let (Some(block), Some(name)) = (&block, function.strip_prefix("fn "))
                && public
            {
                found.entry(block.clone()).or_default().insert(word(name));
            }
            if let Some(block) = &block
                && line.starts_with("    ")
                && !line.starts_with("     ")
                && trimmed.chars().next().is_some_and(char::is_uppercase)
            {
                found.entry(block.clone()).or_default().insert(word(trimmed));
            }
        }
    }
    found
}

/// The text of a test function and whether anything runs it.
fn test_function(file: &str, name: &str) -> Result<String, String> {
    let path = match file {
        "scenarios" => workspace().join("tests/src/scenarios.rs"),
        file => workspace().join(format!("tests/tests/{file}.rs")),
    };
    let text = std::fs::read_to_string(&path).map_err(|_| format!("there is no {}", path.display()))?;
    let heads = [format!("\nasync fn {name}("), format!("\nfn {name}(")];
    let start = heads.iter().find_map(|head| text.find(head.as_str()));
    let start = start.ok_or_else(|| format!("{file} has no function {name}"))?;
    let before = &text[..start + 1];
    let is_test = before
        .trim_end()
        .lines()
        .next_back()
        .is_some_and(|line| line.starts_with("#[tokio::test") || line.starts_with("#[test]"));
    // Lists of checks name them one a line.
    let listed = text.lines().any(|line| {
        let line = line.trim();
        line.trim_end_matches(',') == name || line.contains(&format!("\"{name}\""))
    });
    if !is_test && !listed {
        return Err(format!("nothing runs {file}::{name}"));
    }
    let body = &text[start + 1..];
    Ok(body[..body.find("\n}\n").map_or(body.len(), |end| end + 2)].to_owned())
}

/// Whether a function's text uses a name.
fn uses(body: &str, name: &str) -> bool {
    let starts = body.match_indices(name).map(|(at, _)| at);
    starts.into_iter().any(|at| {
        let before = body[..at].chars().next_back();
        let after = body[at + name.len()..].chars().next();
        matches!(before, Some('.' | ':')) && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn the_table_names_what_exists_and_what_runs() {
    let public = public();
    let rows = rows(4);
    assert!(rows.len() > 60, "only {} rows are found", rows.len());
    let mut complaints = Vec::new();
    for row in rows {
        let [python, ours, releases, tests] = row.as_slice() else { continue };
        if releases != "all" && releases.parse::<dask_client::Release>().is_err() {
            complaints
                .push(format!("{python}: {releases:?} is neither \"all\" nor the first release that has it"));
        }
        let mut bodies = Vec::new();
        for test in names(tests) {
            let found = test.split_once("::").ok_or(format!("{test} is no file::function"));
            match found.and_then(|(file, name)| test_function(file, name)) {
                Ok(body) => bodies.push(body),
                Err(why) => complaints.push(format!("{python}: {why}")),
            }
        }
        if bodies.is_empty() {
            complaints.push(format!("{python}: no test"));
        }
        let ours = names(ours);
        if ours.is_empty() {
            complaints.push(format!("{python}: nothing of ours"));
        }
        for name in ours {
            let Some((owner, member)) = name.split_once("::") else {
                complaints.push(format!("{python}: {name} is no Type::member"));
                continue;
            };
            if !public.get(owner).is_some_and(|members| members.contains(member)) {
                complaints.push(format!("{python}: there is no {name}"));
            }
            if !bodies.iter().any(|body| uses(body, member)) {
                complaints.push(format!("{python}: no test of the row uses {name}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Prints the public names of the client and its friends, as the table has them.
const PUBLIC: &str = "
import distributed
from distributed import actor, client
print(*(name for name in dir(distributed.Client) if name[0] != '_'))
for of in 'Future Variable Queue Event Lock Semaphore MultiLock Actor as_completed Security'.split():
    names = [name for name in dir(getattr(distributed, of)) if name[0] != '_']
    print(*(of + '.' + name for name in names))
print(*('ActorFuture.' + name for name in dir(actor.BaseActorFuture) if name[0] != '_'))
print(*(name for name in client.__dict__ if name in dir(distributed) and callable(getattr(distributed, name))))
";

#[tokio::test]
async fn nothing_of_pythons_client_is_missing_from_the_table() {
    let release = dask_local::known_releases().last().copied().expect("a release");
    let cluster = TestCluster::start(release, Protocol::Tcp).await.unwrap();
    let printed = cluster.cluster.run_python_within(PUBLIC, &[], PATIENCE).await.unwrap().ok().unwrap();
    cluster.cluster.stop().await.unwrap();
    let told: BTreeSet<String> = rows(4)
        .iter()
        .chain(&rows(2))
        .flat_map(|row| names(&row[0]))
        .map(|name| name.split('(').next().unwrap_or_default().to_owned())
        .collect();
    let names: Vec<&str> = printed.split_whitespace().collect();
    assert!(names.len() > 100, "{printed}");
    let missing: Vec<&&str> = names.iter().filter(|name| !told.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
