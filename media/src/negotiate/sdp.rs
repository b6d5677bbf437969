//! The lines of a session description (RFC 8866), split but not understood: sections and their
//! attributes, borrowed from the text. Bounded; anything unreadable is an error, never a panic.

use crate::limits::{SDP_MAX_BYTES, SDP_MAX_SECTION_LINES, SDP_MAX_SECTIONS};

use super::contract::NegotiateError;

/// `a=name:value` or `a=name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

/// One `m=` line with its attributes.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) media: &'a str,
    pub(super) port: u16,
    pub(super) protocol: &'a str,
    /// What follows the protocol: payload types, or `webrtc-datachannel`.
    pub(super) formats: &'a str,
    pub(super) attributes: Vec<Attribute<'a>>,
}

/// A whole description.
#[derive(Debug)]
pub(super) struct Description<'a> {
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) sections: Vec<Section<'a>>,
}

impl<'a> Description<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, NegotiateError> {
        if text.len() > SDP_MAX_BYTES {
            return Err(too_large("bytes", SDP_MAX_BYTES));
        }
        let mut lines = text.split(['\r', '\n']).filter(|line| !line.is_empty());
        if lines.next().map(str::trim_end) != Some("v=0") {
            return Err(NegotiateError::Malformed("does not begin with v=0"));
        }
        let mut description = Description {
            attributes: Vec::new(),
            sections: Vec::new(),
        };
        for line in lines {
            if line.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
                return Err(NegotiateError::Malformed("control characters"));
            }
            match line.split_once('=') {
                Some(("m", value)) => {
                    if description.sections.len() == SDP_MAX_SECTIONS {
                        return Err(too_large("sections", SDP_MAX_SECTIONS));
                    }
                    description.sections.push(media_line(value)?);
                }
                Some(("a", value)) => description.attribute(value)?,
                Some((kind, _)) if kind.len() == 1 => {}
                _ => return Err(NegotiateError::Malformed("a line is not type=value")),
            }
        }
        Ok(description)
    }

    fn attribute(&mut self, line: &'a str) -> Result<(), NegotiateError> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let attributes = match self.sections.last_mut() {
            Some(section) => &mut section.attributes,
            None => &mut self.attributes,
        };
        if attributes.len() == SDP_MAX_SECTION_LINES {
            return Err(too_large("lines in a section", SDP_MAX_SECTION_LINES));
        }
        let (name, value) = (name.trim(), value.trim());
        attributes.push(Attribute { name, value });
        Ok(())
    }
}

impl<'a> Section<'a> {
    /// The first attribute of this name.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        values(&self.attributes, name)
    }
}

/// Values of all attributes of this name, in order.
pub(super) fn values<'a>(
    attributes: &[Attribute<'a>],
    name: &str,
) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.name == name)
        .map(|attribute| attribute.value)
}

fn media_line(line: &str) -> Result<Section<'_>, NegotiateError> {
    let mut words = line.splitn(4, ' ');
    let (Some(media), Some(port), Some(protocol)) = (words.next(), words.next(), words.next())
    else {
        return Err(NegotiateError::Malformed("an m= line is too short"));
    };
    // `9/2` would be a range of ports, which nobody uses with multiplexing.
    let port = port.split('/').next().unwrap_or(port);
    Ok(Section {
        media,
        port: port
            .parse()
            .map_err(|_| NegotiateError::Malformed("an m= line has no port"))?,
        protocol,
        formats: words.next().unwrap_or("").trim(),
        attributes: Vec::new(),
    })
}

fn too_large(what: &'static str, limit: usize) -> NegotiateError {
    NegotiateError::TooLarge { what, limit }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_split_into_sections_and_attributes() {
        let text = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
                    m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\n";
        let description = Description::parse(text).unwrap();
        assert_eq!(description.attributes[0].value, "BUNDLE 0");
        let section = &description.sections[0];
        assert_eq!((section.media, section.port), ("audio", 9));
        assert_eq!(section.formats, "111 0");
        assert_eq!(section.value("mid"), Some("0"));
        assert_eq!(section.value("rtcp-mux"), Some(""));
        assert_eq!(section.value("absent"), None);
    }

    #[test]
    fn line_ends_may_be_bare_newlines() {
        let description = Description::parse("v=0\nm=video 0 X 1\na=x:y\n").unwrap();
        assert_eq!(description.sections[0].value("x"), Some("y"));
    }

    #[test]
    fn nonsense_is_an_error() {
        let many_sections = format!("v=0\n{}", "m=audio 9 X 0\n".repeat(SDP_MAX_SECTIONS + 1));
        let many_lines = format!("v=0\n{}", "a=x\n".repeat(SDP_MAX_SECTION_LINES + 1));
        let huge = format!("v=0\ns={}", "x".repeat(SDP_MAX_BYTES));
        for text in [
            "",
            "nonsense",
            "v=1\n",
            "v=0\nnonsense",
            "v=0\nm=audio",
            "v=0\nm=audio nine X 0",
            "v=0\nm=audio 99999 X 0",
            "v=0\na=mid:\u{0}0",
            "{\"type\":\"offer\"}",
            &many_sections,
            &many_lines,
            &huge,
        ] {
            assert!(Description::parse(text).is_err());
        }
    }
}
