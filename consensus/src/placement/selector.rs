//! `node_selector`: which of several nodes (LiveKit, `pkg/routing/selector`). Kinds filter, then
//! the algorithm takes the lowest by `sort_by`.

use std::str::FromStr;

use super::{Candidate, Load, Random};

/// Mean radius of the Earth, for distances between regions.
const EARTH_RADIUS_KM: f64 = 6_371.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Any,
    CpuLoad,
    SysLoad,
    /// System load, then the nearest region.
    RegionAware,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    Random,
    SysLoad,
    CpuLoad,
    Rooms,
    Clients,
    Tracks,
    BytesPerSec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Lowest,
    /// The better of two drawn at random: keeps a burst of joins off one node.
    TwoChoice,
}

/// Of `node_selector.regions`, in degrees.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    pub name: String,
    pub latitude: f64,
    pub longitude: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    pub kind: Kind,
    pub sort_by: SortBy,
    pub algorithm: Algorithm,
    pub sysload_limit: f64,
    pub cpu_load_limit: f64,
    pub regions: Vec<Region>,
}

impl Default for Selector {
    /// OpenVidu's defaults: with several nodes, LiveKit's (`any`, `random`) overload one of them.
    fn default() -> Self {
        Self {
            kind: Kind::CpuLoad,
            sort_by: SortBy::CpuLoad,
            algorithm: Algorithm::Lowest,
            sysload_limit: 0.9,
            cpu_load_limit: 0.9,
            regions: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node_selector.{key}: {found:?} is none of {known}")]
pub struct SelectorError {
    pub key: &'static str,
    pub found: String,
    pub known: &'static str,
}

impl FromStr for Kind {
    type Err = SelectorError;

    /// `random` is LiveKit's old name of `any`; so is an empty one.
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Ok(match text {
            "any" | "random" | "" => Self::Any,
            "cpuload" => Self::CpuLoad,
            "sysload" => Self::SysLoad,
            "regionaware" => Self::RegionAware,
            _ => {
                return Err(SelectorError {
                    key: "kind",
                    found: text.to_string(),
                    known: "any, cpuload, sysload, regionaware",
                });
            }
        })
    }
}

impl FromStr for SortBy {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Ok(match text {
            "random" => Self::Random,
            "sysload" => Self::SysLoad,
            "cpuload" => Self::CpuLoad,
            "rooms" => Self::Rooms,
            "clients" => Self::Clients,
            "tracks" => Self::Tracks,
            "bytespersec" => Self::BytesPerSec,
            _ => {
                return Err(SelectorError {
                    key: "sort_by",
                    found: text.to_string(),
                    known: "random, sysload, cpuload, rooms, clients, tracks, bytespersec",
                });
            }
        })
    }
}

impl FromStr for Algorithm {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Ok(match text {
            "lowest" => Self::Lowest,
            "twochoice" => Self::TwoChoice,
            _ => {
                return Err(SelectorError {
                    key: "algorithm",
                    found: text.to_string(),
                    known: "lowest, twochoice",
                });
            }
        })
    }
}

impl SortBy {
    fn figure(self, load: &Load) -> f64 {
        match self {
            Self::Random => 0.0,
            Self::SysLoad => load.system(),
            Self::CpuLoad => load.cpu,
            Self::Rooms => f64::from(load.rooms),
            Self::Clients => f64::from(load.clients),
            Self::Tracks => f64::from(load.tracks),
            Self::BytesPerSec => load.bytes_per_second,
        }
    }
}

impl Selector {
    pub(super) fn is_below_limit(&self, load: &Load) -> bool {
        match self.kind {
            Kind::Any => true,
            Kind::CpuLoad => load.cpu < self.cpu_load_limit,
            Kind::SysLoad | Kind::RegionAware => load.system() < self.sysload_limit,
        }
    }

    pub(super) fn select<'a>(
        &self,
        pool: &[&'a Candidate],
        here: &str,
        random: &mut Random,
    ) -> Option<&'a Candidate> {
        let nearest = self.nearest(pool, here);
        let pool = if nearest.is_empty() { pool } else { &nearest };
        if pool.is_empty() {
            return None;
        }
        if self.algorithm == Algorithm::TwoChoice && pool.len() > 2 {
            let drawn: Vec<&Candidate> = random
                .two(pool.len())
                .into_iter()
                .map(|at| pool[at])
                .collect();
            return self.lowest(&drawn, random);
        }
        self.lowest(pool, random)
    }

    /// The lowest figure; among equals (and for `random` all are) by chance, so that a fresh
    /// cluster does not put everything on its first node.
    fn lowest<'a>(&self, pool: &[&'a Candidate], random: &mut Random) -> Option<&'a Candidate> {
        let figure = |c: &&Candidate| match self.sort_by.figure(&c.load) {
            figure if figure.is_finite() => figure,
            // A figure that is none says nothing good of its node.
            _ => f64::INFINITY,
        };
        let least = pool.iter().map(figure).min_by(f64::total_cmp)?;
        let equals: Vec<&&Candidate> = pool.iter().filter(|c| figure(c) <= least).collect();
        equals.get(random.below(equals.len())).map(|c| **c)
    }

    /// Nodes of the nearest region whose distance is known; empty: regions say nothing here.
    fn nearest<'a>(&self, pool: &[&'a Candidate], here: &str) -> Vec<&'a Candidate> {
        let region = |name: &str| self.regions.iter().find(|r| r.name == name);
        let (Kind::RegionAware, Some(here)) = (self.kind, region(here)) else {
            return Vec::new();
        };
        let distance = |c: &&Candidate| region(&c.region).map(|r| distance_km(here, r));
        let Some(least) = pool.iter().filter_map(distance).min_by(f64::total_cmp) else {
            return Vec::new();
        };
        let near = |c: &&&Candidate| distance(c).is_some_and(|km| km <= least);
        pool.iter().filter(near).copied().collect()
    }
}

/// On a sphere (haversine).
fn distance_km(a: &Region, b: &Region) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let along = half(a.longitude, b.longitude);
    let cosines = a.latitude.to_radians().cos() * b.latitude.to_radians().cos();
    let chord = half(a.latitude, b.latitude) + cosines * along;
    2.0 * EARTH_RADIUS_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}
