//! Format parameters (`a=fmtp`): `key=value` pairs with `;` between, kept as text so that what a
//! client wrote comes back as it wrote it.

/// Value of a parameter, ignoring the case of its name.
pub(super) fn get<'a>(parameters: &'a str, key: &str) -> Option<&'a str> {
    pairs(parameters)
        .find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value)
}

/// Replaces a parameter where it stands, or appends it.
pub(super) fn set(parameters: &mut String, key: &str, value: &str) {
    let mut found = false;
    let mut list: Vec<String> = pairs(parameters)
        .map(|(name, old)| {
            let same = name.eq_ignore_ascii_case(key);
            found |= same;
            join(name, if same { value } else { old })
        })
        .collect();
    if !found {
        list.push(join(key, value));
    }
    *parameters = list.join(";");
}

pub(super) fn remove(parameters: &mut String, key: &str) {
    if get(parameters, key).is_some() {
        *parameters = pairs(parameters)
            .filter(|(name, _)| !name.eq_ignore_ascii_case(key))
            .map(|(name, value)| join(name, value))
            .collect::<Vec<_>>()
            .join(";");
    }
}

fn pairs(parameters: &str) -> impl Iterator<Item = (&str, &str)> {
    parameters
        .split(';')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(name, _)| !name.is_empty())
}

fn join(name: &str, value: &str) -> String {
    if value.is_empty() {
        name.to_owned()
    } else {
        format!("{name}={value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_set_and_removed() {
        let mut parameters = "minptime=10; UseInbandFec=1;flag".to_owned();
        assert_eq!(get(&parameters, "useinbandfec"), Some("1"));
        assert_eq!(get(&parameters, "flag"), Some(""));
        assert_eq!(get(&parameters, "none"), None);
        set(&mut parameters, "usedtx", "1");
        set(&mut parameters, "minptime", "20");
        assert_eq!(parameters, "minptime=20;UseInbandFec=1;flag;usedtx=1");
        remove(&mut parameters, "usedtx");
        assert_eq!(parameters, "minptime=20;UseInbandFec=1;flag");
    }
}
