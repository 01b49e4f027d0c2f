//! The route table: what the router publishes from a catalog. Immutable; live cells are referred to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use crate::{
    channel::{ChannelCell, Line},
    domain::{Catalog, ChannelName, ChannelSpec, ModelName},
};

/// Where the call path finds the table in force.
pub type TableHandle = Arc<ArcSwap<RouteTable>>;

/// One way to serve one model.
#[derive(Clone, Debug)]
pub struct Route {
    /// The channel's live cell.
    pub cell: Arc<ChannelCell>,
    /// The channel's settings at this revision.
    pub spec: Arc<ChannelSpec>,
    /// The name the provider knows the model by.
    pub upstream_model: ModelName,
    /// What is known of this model there.
    pub line: Arc<Line>,
}

/// Channels of one priority that serve a model to a group.
#[derive(Clone, Debug)]
pub struct Tier {
    /// The priority they share.
    pub priority: i32,
    /// The routes, in the catalog's order.
    pub routes: Vec<Route>,
    /// Running sums of the weights, for drawing.
    pub(super) weights: Vec<u64>,
}

/// Models to channels, for every group.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// The catalog's revision.
    pub revision: u64,
    models: HashMap<ModelName, ModelRoutes, RandomState>,
    aliases: BTreeMap<ModelName, ModelName>,
    cells: Vec<Arc<ChannelCell>>,
    /// Channels with a number to pin.
    pins: HashMap<u64, Arc<ChannelSpec>>,
}

#[derive(Debug, Default)]
struct ModelRoutes {
    by_group: HashMap<Arc<str>, Vec<Tier>, RandomState>,
}

impl RouteTable {
    /// Builds the table of a catalog; channels without a cell are left out.
    pub fn build(catalog: &Catalog, cells: &HashMap<ChannelName, Arc<ChannelCell>>) -> Self {
        let mut table =
            Self { revision: catalog.revision, aliases: catalog.aliases.clone(), ..Self::default() };
        for spec in &catalog.channels {
            let Some(cell) = cells.get(&spec.name) else { continue };
            table.cells.push(Arc::clone(cell));
            if let Some(id) = spec.id {
                table.pins.insert(id, Arc::clone(spec));
            }
            for served in &spec.models {
                // A model whose channels are all switched off is still known.
                let routes = table.models.entry(served.model.clone()).or_default();
                if !spec.enabled {
                    continue;
                }
                for group in &spec.groups {
                    let route = Route {
                        cell: Arc::clone(cell),
                        spec: Arc::clone(spec),
                        upstream_model: served.upstream.clone(),
                        line: cell.lines.line(&served.upstream),
                    };
                    insert(routes.by_group.entry(group.clone()).or_default(), route);
                }
            }
        }
        table
    }

    /// The model that a name stands for: itself, unless it is an alias.
    pub fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, |target| target)
    }

    /// The tiers that serve a model to a group, best first; empty where none does.
    pub fn tiers(&self, model: &str, group: &str) -> &[Tier] {
        self.models.get(model).and_then(|m| m.by_group.get(group)).map_or(&[], Vec::as_slice)
    }

    /// Whether any channel serves the model, to whatever group, enabled or not.
    pub fn knows(&self, model: &str) -> bool {
        self.models.contains_key(model)
    }

    /// The channel with this number, enabled or not.
    pub fn pinned(&self, id: u64) -> Option<&Arc<ChannelSpec>> {
        self.pins.get(&id)
    }

    /// Names that a group may ask for, aliases too, sorted.
    pub fn models_for(&self, group: &str) -> Vec<&ModelName> {
        let served = |name: &&ModelName| !self.tiers(name, group).is_empty();
        let mut names: Vec<_> = self.models.keys().filter(served).collect();
        names.extend(
            self.aliases.iter().filter(|(_, target)| !self.tiers(target, group).is_empty()).map(|(a, _)| a),
        );
        names.sort();
        names.dedup();
        names
    }

    /// Every channel's cell, in the catalog's order.
    pub fn cells(&self) -> &[Arc<ChannelCell>] {
        &self.cells
    }
}

/// Puts a route into its tier; tiers stay sorted, the highest priority first.
fn insert(tiers: &mut Vec<Tier>, route: Route) {
    let priority = route.spec.priority;
    let at = match tiers.binary_search_by(|t| priority.cmp(&t.priority)) {
        Ok(at) => at,
        Err(at) => {
            tiers.insert(at, Tier { priority, routes: Vec::new(), weights: Vec::new() });
            at
        }
    };
    let tier = &mut tiers[at];
    let sum = tier.weights.last().copied().unwrap_or(0) + u64::from(route.spec.weight);
    tier.weights.push(sum);
    tier.routes.push(route);
}

impl Tier {
    /// The index of a route, drawn by weight; `roll` is uniform over all of `u64`.
    pub(super) fn draw(&self, roll: u64) -> usize {
        let total = self.weights.last().copied().unwrap_or(0);
        if total == 0 {
            return ((u128::from(roll) * self.routes.len() as u128) >> 64) as usize;
        }
        let point = ((u128::from(roll) * u128::from(total)) >> 64) as u64;
        self.weights.partition_point(|sum| *sum <= point)
    }
}
