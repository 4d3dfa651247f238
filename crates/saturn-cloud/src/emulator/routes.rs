//! The endpoints.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::dask;
use super::pki::Authority;
use super::record::{Authorization, Recorded};
use super::state::{self, Chain, Cluster, Shared, State};
use crate::options::ClusterOptions;
use crate::status::Status;

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: String,
}

type Outcome = Result<Reply, Reply>;

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply { status, content_type: "application/json".to_owned(), body: body.to_string() }
}

fn ok(body: &Value) -> Reply {
    json_reply(200, body)
}

fn nothing() -> Reply {
    Reply { status: 204, content_type: String::new(), body: String::new() }
}

fn refuse(status: u16, message: impl AsRef<str>) -> Reply {
    json_reply(status, &json!({ "message": message.as_ref() }))
}

/// The request is larger than any that this API has.
pub(super) fn too_large() -> Reply {
    refuse(413, "the request is too large")
}

fn page(status: u16) -> Reply {
    let body =
        "<!DOCTYPE html>\n<html><head><title>Saturn Cloud</title></head><body></body></html>".to_owned();
    Reply { status, content_type: "text/html; charset=utf-8".to_owned(), body }
}

/// Answers a request.
pub(super) fn route(shared: &Arc<Shared>, request: &Recorded) -> Reply {
    let segments: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let ["api", rest @ ..] = segments.as_slice() else {
        // Everything beside the API is the web interface.
        return page(if request.method == "GET" { 200 } else { 404 });
    };
    match request.authorization {
        Authorization::Token | Authorization::Bearer => {}
        Authorization::Expired => return refuse(401, "Token has expired"),
        Authorization::Wrong => return refuse(401, "Invalid token"),
        Authorization::Missing => return refuse(401, "Authentication required"),
    }
    let outcome = match (request.method.as_str(), rest) {
        ("GET", ["status"]) => Ok(ok(&json!({ "status": "ok", "version": "2026.02.01" }))),
        ("GET", ["dask_clusters", "info"]) => {
            Ok(ok(&json!({ "server_options": { "size": state::sizes() } })))
        }
        ("GET", ["dask_clusters"]) => list(shared, request),
        ("POST", ["dask_clusters"]) => create(shared, request),
        ("POST", ["dask_clusters", "reset"]) => reset(shared, request),
        (method, ["dask_clusters", id]) => single(shared, method, id, request),
        ("GET", ["dask_clusters", id, what]) => look(shared, id, what, request),
        ("POST", ["dask_clusters", id, what]) => act(shared, id, what, request),
        _ => return refuse(404, "Not Found"),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

/// Clients send no content type, so that none is asked for.
fn parse<'a, T: Deserialize<'a>>(request: &'a Recorded) -> Result<T, Reply> {
    let text = if request.body.trim().is_empty() { "{}" } else { &request.body };
    serde_json::from_str(text).map_err(|error| refuse(400, format!("the body cannot be read: {error}")))
}

fn find<'a>(state: &'a mut State, id: &str) -> Result<&'a mut Cluster, Reply> {
    state.clusters.get_mut(id).ok_or_else(|| refuse(404, format!("Dask cluster {id} not found")))
}

#[derive(Deserialize)]
struct CreateBody {
    #[serde(flatten)]
    options: ClusterOptions,
    project_id: Option<String>,
    resource: Option<std::collections::BTreeMap<String, String>>,
}

fn create(shared: &Arc<Shared>, request: &Recorded) -> Outcome {
    let body: CreateBody = parse(request)?;
    for given in [&body.options.worker_size, &body.options.scheduler_size].into_iter().flatten() {
        if !state::sizes().iter().any(|size| size.name == *given) {
            return Err(refuse(400, format!("{given} is not a size")));
        }
    }
    if let Some(resource) = body.resource {
        return create_public(shared, &resource, body.options);
    }
    let owner = owner(shared, request, body.project_id.as_deref())?;
    let active = {
        let state = shared.lock();
        // A cluster in error stays the answer until it is closed: otherwise nobody would ever see the error.
        let mut clusters = state.order.iter().rev().filter_map(|id| state.clusters.get(id));
        let found = clusters.find(|cluster| cluster.owner == owner && cluster.status != Status::Closed);
        found.map(|cluster| cluster.id.clone())
    };
    let id = match active {
        Some(id) => {
            let mut state = shared.lock();
            let cluster = find(&mut state, &id)?;
            let asked = ClusterOptions { worker_is_spot: None, ..body.options };
            let differs = |new: &Option<String>, old: &Option<String>| new.is_some() && new != old;
            if cluster.status == Status::Running
                && (asked.n_workers.is_some_and(|n| Some(n) != cluster.options.n_workers)
                    || differs(&asked.worker_size, &cluster.options.worker_size)
                    || differs(&asked.scheduler_size, &cluster.options.scheduler_size))
            {
                let text = "the cluster runs already and is not changed; reset it to change it".to_owned();
                if !cluster.warnings.contains(&text) {
                    cluster.warnings.push(text);
                }
            }
            id
        }
        None => {
            let id = insert(shared, owner, body.options, Status::Pending)?;
            begin(shared, &id)?;
            id
        }
    };
    let mut state = shared.lock();
    let cluster = find(&mut state, &id)?;
    let status = match &cluster.status {
        // The word that dask-saturn waits for.
        Status::Running => Status::Ready,
        other => other.clone(),
    };
    Ok(ok(
        &json!({ "id": id, "status": status, "warnings": cluster.warnings(shared), "errors": cluster.errors }),
    ))
}

/// Whose cluster a request of dask-saturn means.
fn owner(shared: &Shared, request: &Recorded, project_id: Option<&str>) -> Result<String, Reply> {
    match project_id {
        Some(id) if id == shared.config.project_id => Ok(format!("project {id}")),
        Some(id) => Err(refuse(404, format!("Project {id} not found"))),
        None if request.version.is_some() => Ok("the token's resource".to_owned()),
        // Before 0.3.0 the project was the only way to say which cluster is meant.
        None if request.path.ends_with("/reset") => Ok(format!("project {}", shared.config.project_id)),
        None => Err(refuse(400, "project_id is required")),
    }
}

fn create_public(
    shared: &Arc<Shared>,
    resource: &std::collections::BTreeMap<String, String>,
    options: ClusterOptions,
) -> Outcome {
    let [(kind, resource_id)] = resource.iter().collect::<Vec<_>>()[..] else {
        return Err(refuse(422, "resource has exactly one of workspace_id, deployment_id, job_id"));
    };
    let known = match kind.as_str() {
        "workspace_id" => &shared.config.workspace_id,
        "deployment_id" => &shared.config.deployment_id,
        "job_id" => &shared.config.job_id,
        _ => return Err(refuse(422, format!("{kind} is not the id of a resource"))),
    };
    let kind = kind.trim_end_matches("_id");
    if resource_id != known {
        return Err(refuse(404, format!("{kind} {resource_id} not found")));
    }
    let id = insert(shared, format!("{kind} {resource_id}"), options, Status::Stopped)?;
    let mut state = shared.lock();
    Ok(json_reply(201, &find(&mut state, &id)?.describe(shared)))
}

fn insert(shared: &Shared, owner: String, options: ClusterOptions, status: Status) -> Result<String, Reply> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let host = shared.host_of(&id);
    let name = shared.config.certificate_name.as_deref().unwrap_or(&host);
    let authority = Authority::new(name, shared.config.chain)
        .map_err(|error| refuse(500, format!("no authority could be made: {error}")))?;
    let cluster = Cluster {
        id: id.clone(),
        owner,
        options,
        status,
        warnings: shared.config.warnings.clone(),
        errors: Vec::new(),
        created_at: "2026-01-01T00:00:00+00:00".to_owned(),
        authority: Arc::new(authority),
        dask: None,
        host,
        scaling: Arc::default(),
        generation: 0,
    };
    let mut state = shared.lock();
    state.clusters.insert(id.clone(), cluster);
    state.order.push(id.clone());
    Ok(id)
}

/// Starts a cluster.
fn begin(shared: &Arc<Shared>, id: &str) -> Result<(), Reply> {
    let generation = {
        let mut state = shared.lock();
        let cluster = find(&mut state, id)?;
        cluster.generation += 1;
        cluster.errors.clear();
        // Words alone need no time.
        let at_once = !shared.config.dask && shared.config.delay.is_zero();
        let fine = matches!(shared.config.outcome, state::Outcome::Ready);
        cluster.status = if at_once && fine { Status::Running } else { Status::Pending };
        if cluster.status == Status::Running {
            return Ok(());
        }
        cluster.generation
    };
    dask::start(shared, id, generation);
    Ok(())
}

/// Ends a cluster.
fn end(shared: &Shared, id: &str, status: Status) -> Result<(), Reply> {
    let dask = {
        let mut state = shared.lock();
        let cluster = find(&mut state, id)?;
        cluster.generation += 1;
        cluster.status = status;
        cluster.dask.take()
    };
    tokio::spawn(dask::end(dask));
    Ok(())
}

fn reset(shared: &Arc<Shared>, request: &Recorded) -> Outcome {
    let options: ClusterOptions = parse(request)?;
    let owner = owner(shared, request, None)?;
    let old: Vec<String> = {
        let state = shared.lock();
        let own = state.clusters.values().filter(|cluster| cluster.owner == owner);
        own.filter(|cluster| cluster.status != Status::Closed).map(|cluster| cluster.id.clone()).collect()
    };
    for id in old {
        end(shared, &id, Status::Closed)?;
    }
    let id = insert(shared, owner, options, Status::Pending)?;
    begin(shared, &id)?;
    Ok(ok(&json!({ "id": id, "status": "pending" })))
}

fn list(shared: &Shared, request: &Recorded) -> Outcome {
    let number = |name: &str| request.query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (start, size) = (number("next_key").unwrap_or(0), number("page_size").unwrap_or(100).clamp(1, 1000));
    let state = shared.lock();
    let known = state.order.iter().filter_map(|id| state.clusters.get(id));
    let list: Vec<Value> = known.skip(start).take(size).map(|cluster| cluster.describe(shared)).collect();
    let next = start + list.len();
    let next = (next < state.order.len()).then(|| next.to_string());
    Ok(ok(&json!({ "dask_clusters": list, "next_key": next })))
}

fn single(shared: &Arc<Shared>, method: &str, id: &str, request: &Recorded) -> Outcome {
    match method {
        "GET" => {
            let mut state = shared.lock();
            Ok(ok(&find(&mut state, id)?.describe(shared)))
        }
        "DELETE" => {
            let active = {
                let mut state = shared.lock();
                !find(&mut state, id)?.status.is_over()
            };
            let allowed = request.query.get("allow_active").is_some_and(|value| value == "true");
            if active && !allowed {
                return Err(refuse(409, "the cluster is active; stop it, or allow that"));
            }
            end(shared, id, Status::Closed)?;
            let mut state = shared.lock();
            state.clusters.remove(id);
            state.order.retain(|known| known != id);
            Ok(nothing())
        }
        _ => Err(refuse(405, "Method Not Allowed")),
    }
}

fn look(shared: &Shared, id: &str, what: &str, request: &Recorded) -> Outcome {
    let mut state = shared.lock();
    let cluster = find(&mut state, id)?;
    let running = cluster.status == Status::Running;
    let workers = cluster.dask.as_ref().map(|dask| dask.workers()).unwrap_or_default();
    let alive = workers.iter().filter(|worker| worker.running).count();
    match what {
        "info" => {
            let outside = request.query.get("is_external").is_some_and(|value| value == "true");
            let inside = || cluster.dask.as_ref().map(|dask| dask.address()).unwrap_or_default();
            let address = if outside { shared.outside(cluster) } else { inside() };
            let dashboard = format!("{}/dashboard/{id}", shared.url);
            Ok(ok(&json!({ "scheduler_address": address, "dashboard_link": dashboard })))
        }
        // Asked of the process itself, which is not there when it does not run.
        "status" | "scheduler_info" if !running => Err(refuse(503, "the cluster does not run")),
        "status" => Ok(ok(&json!({ "status": cluster.status }))),
        "scheduler_info" => {
            let one = |worker: &dask_local::WorkerInfo| {
                (worker.address.clone(), json!({ "type": "Worker", "id": worker.name, "name": worker.name }))
            };
            let workers: serde_json::Map<String, Value> =
                workers.iter().filter(|worker| worker.running).map(one).collect();
            let address = cluster.dask.as_ref().map(|dask| dask.address()).unwrap_or_default();
            let id = format!("Scheduler-{id}");
            Ok(ok(
                &json!({ "type": "Scheduler", "id": id, "address": address, "services": {}, "workers": workers }),
            ))
        }
        "runtimesummary" => {
            let wanted = cluster.options.n_workers.unwrap_or(1);
            let alive = dask::machines(alive, &cluster.options);
            let pending = wanted.saturating_sub(alive);
            Ok(ok(&json!({
                "name": cluster.owner,
                "status": cluster.status,
                "kubecluster_summary": { "status": cluster.status },
                "scheduler_summary": { "status": cluster.status },
                "worker_summary":
                    { "count": wanted, "pending_count": pending, "running_count": alive, "error_count": 0 },
                "errors": cluster.errors,
                "conditions": [],
            })))
        }
        "logs" => {
            let wanted = request.query.get("component").map(String::as_str);
            let mut logs = cluster.dask.as_ref().map(|dask| dask.logs()).unwrap_or_default();
            logs.insert(0, ("scheduler".to_owned(), shared.config.logged.join("\n")));
            let fits = |name: &str| wanted.is_none_or(|wanted| name.starts_with(wanted));
            let logs = logs.iter().filter(|(name, _)| fits(name));
            let lines: Vec<Value> = logs
                .flat_map(|(name, text)| text.lines().map(move |line| (name, line)))
                .map(|(name, line)| {
                    json!({
                        "timestamp": cluster.created_at,
                        "content": line,
                        "pod_name": name,
                        "container_name": "dask",
                    })
                })
                .collect();
            let number = |name: &str| request.query.get(name).and_then(|text| text.parse::<usize>().ok());
            let (start, size) =
                (number("next_key").unwrap_or(0), number("page_size").unwrap_or(100).clamp(1, 1000));
            let next = (start + size < lines.len()).then(|| (start + size).to_string());
            let part: Vec<&Value> = lines.iter().skip(start).take(size).collect();
            Ok(ok(&json!({ "logs": part, "next_key": next })))
        }
        _ => Err(refuse(404, "Not Found")),
    }
}

#[derive(Deserialize)]
struct ScaleBody {
    n: u32,
}

#[derive(Deserialize)]
struct AdaptBody {
    minimum: u32,
    maximum: u32,
}

fn act(shared: &Arc<Shared>, id: &str, what: &str, request: &Recorded) -> Outcome {
    let mut state = shared.lock();
    let cluster = find(&mut state, id)?;
    match what {
        "csr" => {
            if shared.config.chain == Chain::Page {
                return Ok(page(200));
            }
            let authority = Arc::clone(&cluster.authority);
            drop(state);
            let lifetime = shared.config.certificate_lifetime;
            let signed = authority.sign(id, &request.body, shared.config.chain, lifetime);
            let body =
                signed.map_err(|error| refuse(400, format!("the request cannot be signed: {error}")))?;
            Ok(Reply { status: 200, content_type: "application/x-pem-file".to_owned(), body })
        }
        "scale" | "adapt" => {
            let wanted = match what {
                "scale" => parse::<ScaleBody>(request)?.n,
                _ => {
                    let AdaptBody { minimum, maximum } = parse(request)?;
                    if minimum > maximum {
                        return Err(refuse(400, "minimum is above maximum"));
                    }
                    // There is no load here that would ask for more than the least.
                    cluster.options.n_workers.unwrap_or(1).clamp(minimum, maximum)
                }
            };
            cluster.options.n_workers = Some(wanted);
            drop(state);
            dask::scale(shared, id);
            Ok(nothing())
        }
        "close" => {
            drop(state);
            end(shared, id, Status::Closed)?;
            Ok(ok(&json!({})))
        }
        "stop" => {
            drop(state);
            end(shared, id, Status::Stopped)?;
            let mut state = shared.lock();
            Ok(ok(&find(&mut state, id)?.describe(shared)))
        }
        "start" | "restart" => {
            let running = !cluster.status.is_over();
            drop(state);
            if running && what == "restart" {
                end(shared, id, Status::Stopped)?;
            }
            if !running || what == "restart" {
                begin(shared, id)?;
            }
            let mut state = shared.lock();
            Ok(ok(&find(&mut state, id)?.describe(shared)))
        }
        _ => Err(refuse(404, "Not Found")),
    }
}
