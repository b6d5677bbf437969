//! The template structure of the dependency descriptor (AV1 RTP specification, appendix A.8): which
//! layer a frame belongs to and which decode targets need it. Kept per stream from key frame to key
//! frame; bytes of strangers, so every read is checked and every count bounded.

use smallvec::SmallVec;

/// The template id has six bits.
const TEMPLATES_MAX: usize = 64;
/// Frame differences a template may list before the descriptor is refused; encoders send a handful.
const DIFFERENCES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    /// Bit per decode target that uses frames of this template.
    used_by: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    id_offset: u8,
    targets: u8,
    templates: SmallVec<[Template; 16]>,
    /// Highest spatial and temporal layer of each decode target.
    target_layers: SmallVec<[(u8, u8); 16]>,
}

/// What the descriptor of one packet says, read with the structure in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    pub spatial: u8,
    pub temporal: u8,
    /// Bit per decode target that uses the frame.
    pub used_by: u32,
}

impl Structure {
    /// The decode target with the best layers within the limits, among `active` ones.
    pub fn target_within(&self, active: u32, spatial: u8, temporal: u8) -> Option<(u8, (u8, u8))> {
        let targets = (0u8..).zip(self.target_layers.iter().copied());
        let live = targets.filter(|(index, _)| active & (1 << index) != 0);
        let within = live
            .clone()
            .filter(|(_, (s, t))| *s <= spatial && *t <= temporal);
        // Too large is better than nothing: then the smallest there is.
        within
            .max_by_key(|(_, layers)| *layers)
            .or_else(|| live.min_by_key(|(_, layers)| *layers))
    }

    /// Highest spatial layer any of the `active` decode targets has.
    pub fn max_spatial(&self, active: u32) -> u8 {
        let targets = (0u8..).zip(&self.target_layers);
        let live = targets.filter(|(index, _)| active & (1 << index) != 0);
        live.map(|(_, (spatial, _))| *spatial).max().unwrap_or(0)
    }
}

/// The structure in force on one stream and the decode targets its encoder serves.
#[derive(Clone, Debug, Default)]
pub struct StructureState {
    pub structure: Option<Box<Structure>>,
    pub active: u32,
}

impl StructureState {
    /// Takes in one packet's descriptor. `None`: absent, broken, or about an unknown structure.
    pub fn read(&mut self, element: &[u8]) -> Option<Described> {
        let template = element.first()? & 0x3f;
        let Some(extended) = element.get(3..).filter(|rest| !rest.is_empty()) else {
            return self.describe(template, None);
        };
        let mut bits = Bits {
            bytes: extended,
            at: 0,
        };
        let structure_present = bits.flag()?;
        let active_present = bits.flag()?;
        let custom_targets = bits.flag()?;
        bits.take(2)?; // custom frame differences and chains: not needed here
        if structure_present {
            let structure = read_structure(&mut bits)?;
            self.active = mask(structure.targets);
            self.structure = Some(Box::new(structure));
        }
        let targets = self.structure.as_ref()?.targets;
        if active_present {
            self.active = bits.take(u32::from(targets))?;
        }
        let used_by = custom_targets
            .then(|| read_targets(&mut bits, targets))
            .flatten();
        self.describe(template, used_by)
    }

    fn describe(&self, template: u8, used_by: Option<u32>) -> Option<Described> {
        let structure = self.structure.as_ref()?;
        let index = usize::from((template + 64 - structure.id_offset) % 64);
        let template = structure.templates.get(index)?;
        Some(Described {
            spatial: template.spatial,
            temporal: template.temporal,
            used_by: used_by.unwrap_or(template.used_by),
        })
    }
}

fn read_structure(bits: &mut Bits<'_>) -> Option<Structure> {
    let id_offset = bits.take(6)? as u8;
    let targets = bits.take(5)? as u8 + 1;
    let mut templates: SmallVec<[Template; 16]> = SmallVec::new();
    let (mut spatial, mut temporal) = (0, 0);
    loop {
        if templates.len() == TEMPLATES_MAX {
            return None;
        }
        templates.push(Template {
            spatial,
            temporal,
            used_by: 0,
        });
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => break,
        }
    }
    for template in &mut templates {
        template.used_by = read_targets(bits, targets)?;
    }
    skip_differences(bits, templates.len())?;
    skip_chains(bits, templates.len(), targets)?;
    if bits.flag()? {
        for _ in 0..=spatial {
            bits.take(32)?; // a resolution
        }
    }
    let layers = |target: u8| {
        let used = templates.iter().filter(|t| t.used_by & (1 << target) != 0);
        used.fold((0, 0), |(s, t), layer| {
            (layer.spatial.max(s), layer.temporal.max(t))
        })
    };
    let target_layers = (0..targets).map(layers).collect();
    Some(Structure {
        id_offset,
        targets,
        templates,
        target_layers,
    })
}

/// One decode target indication for each target; 0 = not present.
fn read_targets(bits: &mut Bits<'_>, targets: u8) -> Option<u32> {
    let mut used_by = 0;
    for target in 0..targets {
        used_by |= u32::from(bits.take(2)? != 0) << target;
    }
    Some(used_by)
}

fn skip_differences(bits: &mut Bits<'_>, templates: usize) -> Option<()> {
    for _ in 0..templates {
        let mut listed = 0;
        while bits.flag()? {
            listed += 1;
            if listed > DIFFERENCES_MAX {
                return None;
            }
            bits.take(4)?;
        }
    }
    Some(())
}

fn skip_chains(bits: &mut Bits<'_>, templates: usize, targets: u8) -> Option<()> {
    let chains = bits.non_symmetric(u32::from(targets) + 1)?;
    if chains == 0 {
        return Some(());
    }
    for _ in 0..targets {
        bits.non_symmetric(chains)?;
    }
    for _ in 0..templates * chains as usize {
        bits.take(4)?;
    }
    Some(())
}

fn mask(targets: u8) -> u32 {
    u32::MAX >> (32 - u32::from(targets.clamp(1, 32)))
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Option<bool> {
        Some(self.take(1)? == 1)
    }

    /// Up to 32 bits, most significant first.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// ns(n) of the AV1 specification: a number below `n` in as few bits as possible.
    fn non_symmetric(&mut self, n: u32) -> Option<u32> {
        let width = 32 - n.leading_zeros();
        let spare = (1 << width) - n;
        let value = self.take(width.saturating_sub(1))?;
        if value < spare {
            return Some(value);
        }
        Some((value << 1) - spare + self.take(1)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn put(&mut self, value: u32, count: u32) -> &mut Writer {
            self.0
                .extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn bytes(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                (0..8).fold(0, |b, i| {
                    b << 1 | u8::from(bits.get(i).copied().unwrap_or(false))
                })
            };
            self.0.chunks(8).map(byte).collect()
        }
    }

    /// Three spatial layers, each with a key and a delta template; upper layers of delta frames
    /// need only themselves, as L3T1_KEY has it.
    fn l3t1_key() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.put(1, 1).put(1, 1).put(0, 6).put(7, 16); // start, end, template 0, frame 7
        writer.put(1, 1).put(0, 4); // a structure and nothing else
        writer.put(0, 6).put(2, 5); // offset 0, three targets
        for step in [0, 2, 0, 2, 0, 3] {
            writer.put(step, 2);
        }
        let uses = [
            [2, 2, 2],
            [2, 0, 0],
            [0, 2, 2],
            [0, 2, 0],
            [0, 0, 2],
            [0, 0, 2],
        ];
        for target in uses.into_iter().flatten() {
            writer.put(target, 2);
        }
        for _ in uses {
            writer.put(0, 1); // no frame differences
        }
        writer.put(0, 1).put(0, 1); // no chains: ns(4) = 0
        writer.put(0, 1); // no resolutions
        writer.bytes()
    }

    #[test]
    fn templates_say_layer_and_decode_targets() {
        let mut state = StructureState::default();
        let key = state.read(&l3t1_key()).unwrap();
        assert_eq!((key.spatial, key.temporal, key.used_by), (0, 0, 0b111));
        let middle = state.read(&[0xc3, 0, 8]).unwrap();
        assert_eq!((middle.spatial, middle.used_by), (1, 0b010));
        let structure = state.structure.as_ref().unwrap();
        assert_eq!(structure.max_spatial(state.active), 2);
        assert_eq!(
            structure.target_within(state.active, 1, 3),
            Some((1, (1, 0)))
        );
        assert_eq!(
            structure.target_within(0b100, 0, 0),
            Some((2, (2, 0))),
            "better than nothing"
        );
    }

    #[test]
    fn active_targets_and_custom_indications_are_read() {
        let mut state = StructureState::default();
        state.read(&l3t1_key()).unwrap();
        let mut writer = Writer::default();
        writer.put(0b11, 2).put(1, 6).put(9, 16);
        writer.put(0, 1).put(1, 1).put(1, 1).put(0, 2); // active targets, custom indications
        writer.put(0b011, 3);
        for target in [3, 1, 0] {
            writer.put(target, 2);
        }
        let described = state.read(&writer.bytes()).unwrap();
        assert_eq!((described.used_by, state.active), (0b011, 0b011));
    }

    #[test]
    fn without_a_structure_or_cut_short_nothing_is_known() {
        let mut state = StructureState::default();
        assert_eq!(state.read(&[0xc0, 0, 1]), None);
        let whole = l3t1_key();
        for end in 0..whole.len() - 1 {
            assert_eq!(StructureState::default().read(&whole[..end]), None, "{end}");
        }
    }
}
