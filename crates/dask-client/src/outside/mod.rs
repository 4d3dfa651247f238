//! What runs outside of tasks: functions, plugins, uploaded files, actors.

pub(crate) mod actor;
pub(crate) mod pickled;
pub(crate) mod plugin;
pub(crate) mod run;
pub(crate) mod upload;
