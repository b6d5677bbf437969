//! Which events the operator wants (`webhook.filter_params`). Pure.

/// Events to send; both lists empty = all. As upstream, an include list wins over excludes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub include_events: Vec<String>,
    pub exclude_events: Vec<String>,
}

impl Filter {
    pub fn allows(&self, event: &str) -> bool {
        if self.include_events.is_empty() {
            !self.exclude_events.iter().any(|excluded| excluded == event)
        } else {
            self.include_events.iter().any(|included| included == event)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Filter {
            include_events: owned(include),
            exclude_events: owned(exclude),
        }
    }

    #[test]
    fn without_lists_everything_passes() {
        assert!(filter(&[], &[]).allows("room_started"));
    }

    #[test]
    fn an_include_list_wins_over_excludes() {
        let both = filter(&["room_started"], &["room_started", "room_finished"]);
        assert!(both.allows("room_started"));
        assert!(!both.allows("participant_joined"));
    }

    #[test]
    fn excluded_events_stay_out() {
        let filter = filter(&[], &["track_published"]);
        assert!(!filter.allows("track_published") && filter.allows("room_started"));
    }
}
