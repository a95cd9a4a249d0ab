//! Quantities with units, of which several make one compound quantity, such as `5 hours 30 minutes`.

/// What a unit measures. Units of the same kind can be added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    Calendar,
    Time,
    Length,
    Mass,
    Volume,
    Money,
    Angle,
}

/// A unit with its names, and its size in the smallest units of its kind.
struct MeasureUnit {
    kind: UnitKind,
    size: f64,
    names: &'static [&'static str],
}

const fn unit(kind: UnitKind, size: f64, names: &'static [&'static str]) -> MeasureUnit {
    MeasureUnit { kind, size, names }
}

const TABLE: &[MeasureUnit] = &[
    unit(UnitKind::Calendar, 12.0, &["year", "years", "yr", "yrs"]),
    unit(UnitKind::Calendar, 1.0, &["month", "months"]),
    unit(UnitKind::Time, 604_800.0, &["week", "weeks", "wk", "wks"]),
    unit(UnitKind::Time, 86_400.0, &["day", "days", "d"]),
    unit(UnitKind::Time, 3600.0, &["hour", "hours", "hr", "hrs", "h"]),
    unit(UnitKind::Time, 60.0, &["minute", "minutes", "min", "mins"]),
    unit(UnitKind::Time, 1.0, &["second", "seconds", "sec", "secs", "s"]),
    unit(UnitKind::Length, 1_000_000.0, &["kilometer", "kilometers", "kilometre", "kilometres", "km"]),
    unit(UnitKind::Length, 1000.0, &["meter", "meters", "metre", "metres", "m"]),
    unit(UnitKind::Length, 10.0, &["centimeter", "centimeters", "centimetre", "centimetres", "cm"]),
    unit(UnitKind::Length, 1.0, &["millimeter", "millimeters", "millimetre", "millimetres", "mm"]),
    unit(UnitKind::Length, 1_609_344.0, &["mile", "miles", "mi"]),
    unit(UnitKind::Length, 914.4, &["yard", "yards", "yd", "yds"]),
    unit(UnitKind::Length, 304.8, &["foot", "feet", "ft", "'"]),
    unit(UnitKind::Length, 25.4, &["inch", "inches", "in", "''", "\""]),
    unit(UnitKind::Mass, 1000.0, &["kilogram", "kilograms", "kg"]),
    unit(UnitKind::Mass, 1.0, &["gram", "grams", "g"]),
    unit(UnitKind::Mass, 453.592_37, &["pound", "pounds", "lb", "lbs"]),
    unit(UnitKind::Mass, 28.349_523_125, &["ounce", "ounces", "oz"]),
    unit(UnitKind::Volume, 1000.0, &["liter", "liters", "litre", "litres", "l"]),
    unit(UnitKind::Volume, 1.0, &["milliliter", "milliliters", "millilitre", "millilitres", "ml"]),
    unit(UnitKind::Volume, 3_785.411_784, &["gallon", "gallons", "gal"]),
    unit(UnitKind::Volume, 946.352_946, &["quart", "quarts", "qt"]),
    unit(UnitKind::Volume, 473.176_473, &["pint", "pints", "pt"]),
    unit(UnitKind::Money, 1.0, &["dollar", "dollars", "euro", "euros"]),
    unit(UnitKind::Money, 0.01, &["cent", "cents"]),
    unit(UnitKind::Angle, 3600.0, &["°", "degree", "degrees"]),
];

/// The kind and the size of a unit, given by its name in lower case. `None` for unknown names.
fn find(name: &str) -> Option<&'static MeasureUnit> {
    TABLE.iter().find(|unit| unit.names.contains(&name))
}

/// One number with its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    pub value: f64,
    /// The name of the unit in lower case; empty if there is none.
    pub unit: String,
}

/// The sum of quantities of one kind, in the smallest units of the kind. Behind degrees, minutes and seconds are parts
/// of a degree; beside a unit of time, `m` stands for minutes. `None` if a unit is unknown or the kinds differ.
pub fn total(measures: &[Measure]) -> Option<(UnitKind, f64)> {
    let first = find(&measures.first()?.unit)?;
    let is_time = measures.iter().any(|m| find(&m.unit).is_some_and(|u| u.kind == UnitKind::Time));
    let mut sum = 0.0;
    for measure in measures {
        let size = match (measure.unit.as_str(), first.kind) {
            ("m", _) if is_time => 60.0,
            ("'" | "minute" | "minutes", UnitKind::Angle) => 60.0,
            ("''" | "\"" | "second" | "seconds", UnitKind::Angle) => 1.0,
            (name, kind) => find(name).filter(|unit| unit.kind == kind)?.size,
        };
        sum += measure.value * size;
    }
    Some((if is_time && first.kind == UnitKind::Length { UnitKind::Time } else { first.kind }, sum))
}

/// Whether two quantities are equal: by their sums if units can be converted, else by numbers and units in any order.
pub fn same_quantity(a: &[Measure], b: &[Measure]) -> bool {
    if let (Some((kind, x)), Some((other, y))) = (total(a), total(b)) {
        return kind == other && (x - y).abs() <= 1e-9 * x.abs().max(y.abs());
    }
    let singular = |name: &str| name.strip_suffix('s').filter(|s| s.len() > 1).unwrap_or(name).to_owned();
    let sorted = |measures: &[Measure]| {
        let mut all: Vec<(String, f64)> = measures.iter().map(|m| (singular(&m.unit), m.value)).collect();
        all.sort_by(|x, y| x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)));
        all
    };
    sorted(a) == sorted(b)
}

/// Whether a word is a unit that can be converted.
pub fn is_known_unit(name: &str) -> bool {
    find(name).is_some()
}

/// Number of bytes in the compound quantity at the start of a text, such as `5 hours and 30 minutes`: at least two
/// quantities of one kind, each in a smaller unit than the one before. `None` if there is none.
pub fn compound(text: &str) -> Option<usize> {
    let (first, mut end) = measured(text)?;
    let mut smallest = first;
    let mut parts = 1;
    loop {
        let rest = &text[end..];
        let separator = [", and ", " and ", ", ", " "].into_iter().find(|s| rest.starts_with(s));
        let start = end + separator.map_or(0, str::len);
        match measured(&text[start..]) {
            Some((next, len)) if next.kind == smallest.kind && next.size < smallest.size => {
                smallest = next;
                end = start + len;
                parts += 1;
            }
            _ => return (parts > 1).then_some(end),
        }
    }
}

/// Reads a number with a known unit at the start of a text: returns the unit, and the number of bytes.
fn measured(text: &str) -> Option<(&'static MeasureUnit, usize)> {
    let number = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    if number == 0 || !text.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    let space = usize::from(text.as_bytes().get(number) == Some(&b' '));
    let name = &text[number + space..];
    let length = name.bytes().take_while(u8::is_ascii_alphabetic).count();
    let unit = if (1..=12).contains(&length) { find(&name[..length]) } else { None };
    unit.map(|unit| (unit, number + space + length))
}
