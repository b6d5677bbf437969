//! The fixed part of the dependency descriptor (AV1 RTP specification, appendix A): frame limits,
//! frame number, and whether a template structure follows, which only key frames carry.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DependencyDescriptor {
    pub frame_start: bool,
    pub frame_end: bool,
    pub template: u8,
    pub frame_number: u16,
    pub has_structure: bool,
}

impl DependencyDescriptor {
    pub fn parse(element: &[u8]) -> Option<DependencyDescriptor> {
        let head: &[u8; 3] = element.first_chunk()?;
        Some(DependencyDescriptor {
            frame_start: head[0] & 0x80 != 0,
            frame_end: head[0] & 0x40 != 0,
            template: head[0] & 0x3f,
            frame_number: u16::from_be_bytes([head[1], head[2]]),
            has_structure: element.get(3).is_some_and(|flags| flags & 0x80 != 0),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_is_seen_behind_the_mandatory_fields() {
        let found = DependencyDescriptor::parse(&[0xc1, 0x01, 0x02, 0x80, 0]).unwrap();
        assert!(found.frame_start && found.frame_end && found.has_structure);
        assert_eq!((found.template, found.frame_number), (1, 0x0102));
        assert!(
            !DependencyDescriptor::parse(&[0x81, 0, 1])
                .unwrap()
                .has_structure
        );
        assert_eq!(DependencyDescriptor::parse(&[0x81, 0]), None);
    }
}
