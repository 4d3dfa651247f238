//! What every release's servers accept: op by op, the fields of its handler.
//!
//! Read off the handler signatures of every tagged release of `distributed` from 2.30.0 on. `name?` is a field with a
//! default, `name` one the release demands, `**` accepts anything. A range that ends at [`NEWEST`] is still open: a
//! later release is assumed to accept the same until the drift check says otherwise.

use super::ops::{NEWEST, Op, era, op, r, r4};

/// Request-reply ops of the scheduler.
pub(super) const SCHEDULER: &[Op] = &[
    op("adaptive_target", &[era(r(2, 30, 0), NEWEST, "target_duration?")]),
    op("amm_handler", &[era(r(2021, 11, 2), NEWEST, "method")]),
    op("amm_run_once", &[era(r(2021, 9, 1), r(2021, 11, 1), "")]),
    op("amm_start", &[era(r(2021, 9, 1), r(2021, 11, 1), "")]),
    op("amm_stop", &[era(r(2021, 9, 1), r(2021, 11, 1), "")]),
    op("benchmark_hardware", &[era(r(2022, 4, 0), NEWEST, "")]),
    op(
        "broadcast",
        &[
            era(r(2, 30, 0), r(2021, 12, 0), "msg? workers? hosts? nanny? serializers?"),
            era(r(2022, 1, 0), NEWEST, "msg workers? hosts? nanny? serializers? on_error?"),
        ],
    ),
    op("call_stack", &[era(r(2, 30, 0), NEWEST, "keys?")]),
    op(
        "cancel",
        &[
            era(r(2, 30, 0), r(2022, 5, 0), "keys? client? force?"),
            era(r(2022, 5, 1), r(2023, 3, 0), "keys client force?"),
        ],
    ),
    op("cause_of_failure", &[era(r(2, 30, 0), r(2021, 6, 0), "keys? **")]),
    op("dump_cluster_state_to_url", &[era(r(2022, 3, 0), NEWEST, "url exclude format **")]),
    op("event_clear", &[era(r(2, 30, 0), NEWEST, "name?")]),
    op("event_is_set", &[era(r(2, 30, 0), NEWEST, "name?")]),
    op("event_set", &[era(r(2, 30, 0), NEWEST, "name?")]),
    op("event_wait", &[era(r(2, 30, 0), NEWEST, "name? timeout?")]),
    op("events", &[era(r(2020, 12, 0), NEWEST, "topic?")]),
    op(
        "gather",
        &[
            era(r(2, 30, 0), r(2022, 2, 0), "keys? serializers?"),
            era(r(2022, 2, 1), NEWEST, "keys serializers?"),
        ],
    ),
    op("get_cluster_state", &[era(r(2022, 3, 0), NEWEST, "exclude")]),
    op("get_error_cause", &[era(r(2021, 6, 1), NEWEST, "keys? **")]),
    op(
        "get_logs",
        &[era(r(2, 30, 0), r(2022, 1, 0), "n?"), era(r(2022, 1, 1), NEWEST, "start? n? timestamps?")],
    ),
    op(
        "get_metadata",
        &[era(r(2, 30, 0), r(2022, 2, 0), "keys? default?"), era(r(2022, 2, 1), NEWEST, "keys default?")],
    ),
    op("get_runspec", &[era(r(2021, 6, 1), NEWEST, "key? **")]),
    op(
        "get_story",
        &[era(r(2022, 4, 2), r(2022, 6, 0), "keys?"), era(r(2022, 6, 1), NEWEST, "keys_or_stimuli")],
    ),
    op("get_task_prefix_states", &[era(r(2022, 1, 0), NEWEST, "")]),
    op(
        "get_task_status",
        &[era(r(2, 30, 0), r4(2023, 3, 2, 1), "keys?"), era(r(2023, 4, 0), NEWEST, "keys")],
    ),
    op(
        "get_task_stream",
        &[
            era(r(2, 30, 0), r(2026, 3, 0), "start? stop? count?"),
            era(r(2026, 6, 0), NEWEST, "start? stop? count? start_index?"),
        ],
    ),
    op("get_task_stream_index", &[era(r(2026, 6, 0), NEWEST, "")]),
    op("has_what", &[era(r(2, 30, 0), NEWEST, "workers?")]),
    op("identity", &[era(r(2, 30, 0), r(2025, 3, 1), ""), era(r(2025, 4, 0), NEWEST, "n_workers?")]),
    op("lock_acquire", &[era(r(2, 30, 0), r(2024, 7, 0), "name? id? timeout?")]),
    op("lock_release", &[era(r(2, 30, 0), r(2024, 7, 0), "name? id?")]),
    op(
        "log_event",
        &[era(r(2020, 12, 0), r(2022, 5, 2), "worker? topic? msg?"), era(r(2022, 6, 0), NEWEST, "topic msg")],
    ),
    op("logs", &[era(r(2, 30, 0), r(2022, 1, 0), "n?"), era(r(2022, 1, 1), NEWEST, "start? n? timestamps?")]),
    op("memory_sampler_start", &[era(r(2021, 11, 2), NEWEST, "client measure interval")]),
    op("memory_sampler_stop", &[era(r(2021, 11, 2), NEWEST, "key")]),
    op("multi_lock_acquire", &[era(r(2021, 3, 1), NEWEST, "locks? id? timeout? num_locks?")]),
    op("multi_lock_release", &[era(r(2021, 3, 1), NEWEST, "id?")]),
    op("nbytes", &[era(r(2, 30, 0), NEWEST, "keys? summary?")]),
    op("ncores", &[era(r(2, 30, 0), NEWEST, "workers?")]),
    op("ncores_running", &[era(r(2021, 11, 0), NEWEST, "workers?")]),
    op(
        "performance_report",
        &[
            era(r(2, 30, 0), r(2021, 5, 0), "start? code?"),
            era(r(2021, 5, 1), r(2021, 7, 0), "start? last_count? code?"),
            era(r(2021, 7, 1), r(2022, 2, 0), "start? last_count? code? mode?"),
            era(r(2022, 2, 1), NEWEST, "start last_count code? mode?"),
        ],
    ),
    op("processing", &[era(r(2, 30, 0), NEWEST, "workers?")]),
    op(
        "profile",
        &[era(r(2, 30, 0), NEWEST, "workers? scheduler? server? merge_workers? start? stop? key?")],
    ),
    op(
        "proxy",
        &[
            era(r(2, 30, 0), r4(2023, 3, 2, 1), "msg? worker? serializers?"),
            era(r(2023, 4, 0), NEWEST, "msg worker serializers?"),
        ],
    ),
    op(
        "publish_delete",
        &[era(r(2, 30, 0), r(2026, 3, 0), "name?"), era(r(2026, 6, 0), NEWEST, "names client uid")],
    ),
    op(
        "publish_get",
        &[era(r(2, 30, 0), r(2026, 3, 0), "name? client?"), era(r(2026, 6, 0), NEWEST, "names")],
    ),
    op("publish_list", &[era(r(2, 30, 0), NEWEST, "")]),
    op(
        "publish_put",
        &[
            era(r(2, 30, 0), r(2026, 3, 0), "keys? data? name? override? client?"),
            era(r(2026, 6, 0), NEWEST, "names keys data override client uid"),
        ],
    ),
    op("publish_wait_flush", &[era(r(2024, 4, 2), r(2026, 3, 0), "uid")]),
    op("queue_create", &[era(r(2, 30, 0), NEWEST, "name? client? maxsize?")]),
    op("queue_get", &[era(r(2, 30, 0), NEWEST, "name? client? timeout? batch?")]),
    op("queue_put", &[era(r(2, 30, 0), NEWEST, "name? key? data? client? timeout?")]),
    op("queue_qsize", &[era(r(2, 30, 0), NEWEST, "name? client?")]),
    op(
        "rebalance",
        &[
            era(r(2, 30, 0), r(2022, 4, 1), "keys? workers?"),
            era(r(2022, 4, 2), NEWEST, "keys? workers? stimulus_id?"),
        ],
    ),
    op(
        "register-client",
        &[
            era(r(2, 30, 0), r(2022, 3, 0), "client? versions?"),
            era(r(2022, 4, 0), NEWEST, "client versions"),
        ],
    ),
    op(
        "register_nanny_plugin",
        &[
            era(r(2021, 7, 2), r(2023, 8, 1), "plugin name?"),
            era(r(2023, 9, 0), r(2023, 9, 1), "plugin name"),
            era(r(2023, 9, 2), r(2026, 3, 0), "plugin name idempotent?"),
            era(r(2026, 6, 0), NEWEST, "plugin name idempotent"),
        ],
    ),
    op(
        "register_scheduler_plugin",
        &[
            era(r(2021, 7, 0), r(2021, 8, 1), "plugin?"),
            era(r(2021, 9, 0), r(2021, 11, 2), "plugin? name?"),
            era(r(2021, 12, 0), r(2022, 2, 0), "plugin? name? idempotent?"),
            era(r(2022, 2, 1), r(2026, 3, 0), "plugin name? idempotent?"),
            era(r(2026, 6, 0), NEWEST, "plugin name? idempotent"),
        ],
    ),
    op(
        "register_worker_plugin",
        &[
            era(r(2, 30, 0), r(2023, 9, 1), "plugin name?"),
            era(r(2023, 9, 2), r(2026, 3, 0), "plugin name idempotent?"),
            era(r(2026, 6, 0), NEWEST, "plugin name idempotent"),
        ],
    ),
    op(
        "replicate",
        &[
            era(r(2, 30, 0), r(2022, 4, 1), "keys? n? workers? branching_factor? delete? lock?"),
            era(
                r(2022, 4, 2),
                r(2023, 9, 3),
                "keys? n? workers? branching_factor? delete? lock? stimulus_id?",
            ),
            era(r(2023, 10, 0), r(2025, 3, 1), "keys? n? workers? branching_factor? delete? stimulus_id?"),
            era(r(2025, 4, 0), NEWEST, "keys n? workers? branching_factor? delete? stimulus_id?"),
        ],
    ),
    op(
        "restart",
        &[
            era(r(2022, 7, 1), r(2024, 3, 1), "client? timeout? wait_for_workers?"),
            era(r(2024, 4, 0), NEWEST, "client? timeout? wait_for_workers? stimulus_id"),
        ],
    ),
    op(
        "restart_workers",
        &[era(r(2024, 4, 0), NEWEST, "workers? client? timeout? wait_for_workers? on_error? stimulus_id")],
    ),
    op(
        "retire_workers",
        &[
            era(r(2, 30, 0), r(2022, 1, 1), "workers? remove? close_workers? names? lock? **"),
            era(r(2022, 2, 0), r(2022, 4, 1), "workers? names? close_workers? remove? **"),
            era(r(2022, 4, 2), NEWEST, "workers? names? close_workers? remove? stimulus_id? **"),
        ],
    ),
    op(
        "retry",
        &[era(r(2, 30, 0), r(2022, 2, 0), "keys? client?"), era(r(2022, 2, 1), NEWEST, "keys client?")],
    ),
    op("run_function", &[era(r(2, 30, 0), NEWEST, "function args? kwargs? wait?")]),
    op(
        "scatter",
        &[
            era(r(2, 30, 0), r(2025, 3, 1), "data? workers? client? broadcast? timeout?"),
            era(r(2025, 4, 0), NEWEST, "data workers client broadcast? timeout?"),
        ],
    ),
    op("semaphore_acquire", &[era(r(2, 30, 0), NEWEST, "name? timeout? lease_id?")]),
    op("semaphore_close", &[era(r(2, 30, 0), NEWEST, "name?")]),
    op("semaphore_refresh_leases", &[era(r(2, 30, 0), NEWEST, "name? lease_ids?")]),
    op(
        "semaphore_register",
        &[
            era(r(2, 30, 0), r(2024, 7, 0), "name? max_leases?"),
            era(r(2024, 7, 1), NEWEST, "name max_leases lease_timeout"),
        ],
    ),
    op("semaphore_release", &[era(r(2, 30, 0), NEWEST, "name? lease_id?")]),
    op("semaphore_value", &[era(r(2, 30, 0), NEWEST, "name?")]),
    op(
        "set_metadata",
        &[era(r(2, 30, 0), r(2022, 9, 0), "keys? value?"), era(r(2022, 9, 1), NEWEST, "keys value?")],
    ),
    op(
        "start_task_metadata",
        &[era(r(2020, 12, 0), r4(2023, 3, 2, 1), "name?"), era(r(2023, 4, 0), NEWEST, "name")],
    ),
    op("stop_task_metadata", &[era(r(2020, 12, 0), NEWEST, "name?")]),
    op("subscribe_worker_status", &[era(r(2, 30, 0), NEWEST, "")]),
    op(
        "terminate",
        &[
            era(r(2, 30, 0), r(2022, 5, 0), "fast? close_workers?"),
            era(r(2022, 5, 1), r(2022, 5, 2), ""),
            era(r(2022, 6, 0), r(2023, 7, 1), "fast? close_workers?"),
            era(r(2023, 8, 0), r(2025, 3, 1), "fast? close_workers? reason?"),
            era(r(2025, 4, 0), NEWEST, "timeout? reason?"),
        ],
    ),
    op("unregister_nanny_plugin", &[era(r(2021, 7, 2), NEWEST, "name")]),
    op("unregister_scheduler_plugin", &[era(r(2023, 8, 0), NEWEST, "name")]),
    op("unregister_worker_plugin", &[era(r(2021, 5, 0), NEWEST, "name")]),
    op(
        "update_data",
        &[
            era(r(2, 30, 0), r(2021, 9, 1), "who_has? nbytes? client? serializers?"),
            era(r(2021, 10, 0), r(2022, 2, 0), "who_has nbytes client? serializers?"),
            era(r(2022, 2, 1), NEWEST, "who_has nbytes client?"),
        ],
    ),
    op("variable_get", &[era(r(2, 30, 0), NEWEST, "name? client? timeout?")]),
    op(
        "variable_set",
        &[
            era(r(2, 30, 0), r(2024, 8, 1), "name? key? data? client?"),
            era(r(2024, 8, 2), NEWEST, "name? key? data? client? timeout?"),
        ],
    ),
    op("versions", &[era(r(2, 30, 0), NEWEST, "packages?")]),
    op("who_has", &[era(r(2, 30, 0), NEWEST, "keys?")]),
    op("worker_logs", &[era(r(2, 30, 0), NEWEST, "n? workers? nanny?")]),
    op("workers_to_close", &[era(r(2, 30, 0), NEWEST, "memory_ratio? n? key? minimum? target? attribute?")]),
];

/// Ops a registered client writes to its stream; the scheduler fills in `client` itself.
pub(super) const STREAM: &[Op] = &[
    op(
        "cancel-keys",
        &[
            era(r(2023, 3, 1), r(2025, 2, 0), "keys client force?"),
            era(r(2025, 3, 0), NEWEST, "keys client force reason msg"),
        ],
    ),
    op(
        "client-desires-keys",
        &[era(r(2, 30, 0), r(2024, 2, 1), "keys? client?"), era(r(2024, 3, 0), NEWEST, "keys client")],
    ),
    op(
        "client-releases-keys",
        &[
            era(r(2, 30, 0), r(2022, 4, 1), "keys? client?"),
            era(r(2022, 4, 2), r(2024, 2, 1), "keys? client? stimulus_id?"),
            era(r(2024, 3, 0), NEWEST, "keys client stimulus_id?"),
        ],
    ),
    op(
        "close-client",
        &[
            era(r(2, 30, 0), r(2022, 3, 0), "client?"),
            era(r(2022, 4, 0), r(2022, 4, 1), "client"),
            era(r(2022, 4, 2), NEWEST, "client stimulus_id?"),
        ],
    ),
    op(
        "heartbeat-client",
        &[era(r(2, 30, 0), r(2024, 2, 1), "client?"), era(r(2024, 3, 0), NEWEST, "client")],
    ),
    op(
        "publish_flush_batched_send",
        &[era(r(2024, 4, 2), r(2026, 3, 0), "uid **"), era(r(2026, 6, 0), NEWEST, "client uid")],
    ),
    op("queue-future-release", &[era(r(2, 30, 0), NEWEST, "name? key? client?")]),
    op("queue_release", &[era(r(2, 30, 0), NEWEST, "name? client?")]),
    op("report-key", &[era(r(2, 30, 0), NEWEST, "key? ts? client?")]),
    op("restart", &[era(r(2, 30, 0), r(2022, 7, 0), "client? timeout?")]),
    op("subscribe-topic", &[era(r(2021, 9, 1), NEWEST, "topic client")]),
    op("unsubscribe-topic", &[era(r(2021, 9, 1), NEWEST, "topic client")]),
    op(
        "update-data",
        &[
            era(r(2, 30, 0), r(2021, 9, 1), "who_has? nbytes? client? serializers?"),
            era(r(2021, 10, 0), r(2022, 2, 0), "who_has nbytes client? serializers?"),
            era(r(2022, 2, 1), NEWEST, "who_has nbytes client?"),
        ],
    ),
    op(
        "update-graph",
        &[
            era(
                r(2, 30, 0),
                r(2, 30, 1),
                "client? tasks? keys? dependencies? restrictions? priority? loose_restrictions? resources? submitting_task? retries? user_priority? actors? fifo_timeout?",
            ),
            era(
                r(2020, 12, 0),
                r(2021, 7, 0),
                "client? tasks? keys? dependencies? restrictions? priority? loose_restrictions? resources? submitting_task? retries? user_priority? actors? fifo_timeout? annotations?",
            ),
            era(
                r(2021, 7, 1),
                r(2022, 4, 1),
                "client? tasks? keys? dependencies? restrictions? priority? loose_restrictions? resources? submitting_task? retries? user_priority? actors? fifo_timeout? annotations? code?",
            ),
            era(
                r(2022, 4, 2),
                r4(2023, 3, 2, 1),
                "client? tasks? keys? dependencies? restrictions? priority? loose_restrictions? resources? submitting_task? retries? user_priority? actors? fifo_timeout? annotations? code? stimulus_id?",
            ),
            era(
                r(2023, 4, 0),
                r(2024, 5, 1),
                "client graph_header graph_frames keys internal_priority submitting_task user_priority? actors? fifo_timeout? code? annotations? stimulus_id?",
            ),
            era(
                r(2024, 5, 2),
                r(2025, 3, 1),
                "client graph_header graph_frames keys span_metadata internal_priority submitting_task user_priority? actors? fifo_timeout? code? annotations? stimulus_id?",
            ),
            era(
                r(2025, 4, 0),
                NEWEST,
                "client expr_ser keys span_metadata internal_priority submitting_task user_priority? actors? fifo_timeout? code? annotations? stimulus_id?",
            ),
        ],
    ),
    op("variable-future-received-confirm", &[era(r(2024, 8, 2), NEWEST, "name? key? token? client?")]),
    op("variable-future-release", &[era(r(2, 30, 0), r(2024, 8, 1), "name? key? token? client?")]),
    op("variable_delete", &[era(r(2, 30, 0), NEWEST, "name? client?")]),
];

/// Request-reply ops that every Dask server (scheduler, worker, nanny) answers.
pub(super) const SERVER: &[Op] = &[
    op("dump_state", &[era(r(2021, 11, 2), NEWEST, "exclude?")]),
    op("echo", &[era(r(2021, 7, 0), NEWEST, "data?")]),
    op("identity", &[era(r(2, 30, 0), NEWEST, "")]),
];

/// Request-reply ops of a worker.
pub(super) const WORKER: &[Op] = &[
    op("actor_attribute", &[era(r(2, 30, 0), NEWEST, "actor? attribute?")]),
    op("actor_execute", &[era(r(2, 30, 0), NEWEST, "actor? function? args? kwargs?")]),
    op("benchmark_disk", &[era(r(2022, 4, 0), NEWEST, "")]),
    op("benchmark_memory", &[era(r(2022, 4, 0), NEWEST, "")]),
    op("benchmark_network", &[era(r(2022, 4, 0), NEWEST, "address")]),
    op("call_stack", &[era(r(2, 30, 0), NEWEST, "keys?")]),
    op("gather", &[era(r(2, 30, 0), r(2022, 2, 0), "who_has?"), era(r(2022, 2, 1), NEWEST, "who_has")]),
    op(
        "get_data",
        &[
            era(r(2, 30, 0), r(2023, 8, 0), "keys? who? serializers? max_connections?"),
            era(r(2023, 8, 1), NEWEST, "keys who? serializers?"),
        ],
    ),
    op(
        "get_logs",
        &[era(r(2, 30, 0), r(2022, 1, 0), "n?"), era(r(2022, 1, 1), NEWEST, "start? n? timestamps?")],
    ),
    op("get_monitor_info", &[era(r(2021, 4, 1), NEWEST, "recent? start?")]),
    op(
        "get_story",
        &[era(r(2022, 4, 2), r(2022, 6, 0), "keys?"), era(r(2022, 6, 1), NEWEST, "keys_or_stimuli")],
    ),
    op("keys", &[era(r(2, 30, 0), NEWEST, "")]),
    op("ping", &[era(r(2, 30, 0), NEWEST, "")]),
    op(
        "plugin-add",
        &[
            era(r(2, 30, 0), r(2022, 1, 0), "plugin? name?"),
            era(r(2022, 1, 1), r(2022, 2, 1), "plugin? name? catch_errors?"),
            era(r(2022, 3, 0), NEWEST, "plugin name? catch_errors?"),
        ],
    ),
    op("plugin-remove", &[era(r(2021, 5, 0), r(2022, 2, 1), "name?"), era(r(2022, 3, 0), NEWEST, "name")]),
    op("profile", &[era(r(2, 30, 0), NEWEST, "start? stop? key? server?")]),
    op("profile_metadata", &[era(r(2, 30, 0), NEWEST, "start? stop?")]),
    op("run", &[era(r(2, 30, 0), NEWEST, "function args? wait? kwargs?")]),
    op("run_coroutine", &[era(r(2, 30, 0), NEWEST, "function args? kwargs? wait?")]),
    op(
        "terminate",
        &[
            era(r(2, 30, 0), r(2022, 5, 0), "report? timeout? nanny? executor_wait? safe?"),
            era(r(2022, 5, 1), r(2022, 10, 0), "timeout? executor_wait? nanny?"),
            era(r(2022, 10, 1), NEWEST, "timeout? executor_wait? nanny? reason?"),
        ],
    ),
    op(
        "update_data",
        &[
            era(r(2, 30, 0), r(2021, 9, 1), "data? report? serializers?"),
            era(r(2021, 10, 0), r(2022, 2, 0), "data? report? serializers? stimulus_id?"),
            era(r(2022, 2, 1), r(2023, 2, 0), "data report? stimulus_id?"),
            era(r(2023, 2, 1), NEWEST, "data stimulus_id?"),
        ],
    ),
    op(
        "upload_file",
        &[
            era(r(2, 30, 0), r(2022, 6, 0), "filename? data? load?"),
            era(r(2022, 6, 1), NEWEST, "filename data load?"),
        ],
    ),
    op("versions", &[era(r(2, 30, 0), NEWEST, "packages?")]),
];

/// Request-reply ops of a nanny.
pub(super) const NANNY: &[Op] = &[
    op("close_gracefully", &[era(r(2, 30, 0), r(2022, 10, 0), ""), era(r(2022, 10, 1), NEWEST, "reason?")]),
    op(
        "get_logs",
        &[era(r(2, 30, 0), r(2022, 1, 0), "n?"), era(r(2022, 1, 1), NEWEST, "start? n? timestamps?")],
    ),
    op("instantiate", &[era(r(2, 30, 0), NEWEST, "")]),
    op(
        "kill",
        &[era(r(2, 30, 0), r(2022, 10, 0), "timeout?"), era(r(2022, 10, 1), NEWEST, "timeout? reason?")],
    ),
    op(
        "plugin_add",
        &[era(r(2021, 7, 2), r(2023, 9, 1), "plugin? name?"), era(r(2023, 9, 2), NEWEST, "plugin name?")],
    ),
    op("plugin_remove", &[era(r(2021, 7, 2), r(2023, 9, 1), "name?"), era(r(2023, 9, 2), NEWEST, "name")]),
    op(
        "restart",
        &[
            era(r(2, 30, 0), r(2022, 5, 0), "timeout? executor_wait?"),
            era(r(2022, 5, 1), r(2022, 10, 0), "timeout?"),
            era(r(2022, 10, 1), NEWEST, "timeout? reason?"),
        ],
    ),
    op("run", &[era(r(2, 30, 0), NEWEST, "**")]),
    op(
        "terminate",
        &[
            era(r(2, 30, 0), r(2022, 5, 0), "timeout? report?"),
            era(r(2022, 5, 1), r(2022, 10, 0), "timeout?"),
            era(r(2022, 10, 1), NEWEST, "timeout? reason?"),
        ],
    ),
];
