//! Numbers by Python's rules.

use super::spec::{Align, Spec};

type Done = Result<(), &'static str>;

/// A number's pieces before grouping and padding.
struct Pieces {
    negative: bool,
    prefix: &'static str,
    digits: String,
    /// Everything after the whole digits: fraction, exponent, percent sign.
    tail: String,
}

/// `repr` of a float: the shortest digits that read back as the same number.
pub(super) fn float_repr(x: f64) -> String {
    let mut out = String::new();
    if x.is_sign_negative() && !x.is_nan() {
        out.push('-');
    }
    let (digits, point) = shortest(x.abs());
    out.push_str(&layout(&digits, point, -4 < point && point <= 16, true));
    out
}

/// The digits of a finite number without a point, and where the point stands: `0.00123` is `("123", -2)`.
fn shortest(x: f64) -> (String, i32) {
    split_exponent(&format!("{x:e}"))
}

fn split_exponent(text: &str) -> (String, i32) {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    (digits, exponent.parse::<i32>().unwrap_or(0) + 1)
}

/// Digits with their point as a plain number, or with an exponent.
fn layout(digits: &str, point: i32, plain: bool, dot_zero: bool) -> String {
    if !plain {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let exponent = point - 1;
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{first}{dot}{rest}e{sign}{:02}", exponent.abs());
    }
    let len = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if point <= 0 {
        format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else if point < len {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{whole}.{fraction}")
    } else {
        let zeros = "0".repeat((point - len) as usize);
        format!("{digits}{zeros}{}", if dot_zero { ".0" } else { "" })
    }
}

/// `g`: this many significant digits, zeros at the end left out unless `alternate`.
fn general(x: f64, precision: usize, alternate: bool, dot_zero: bool) -> String {
    let precision = precision.max(1);
    let (digits, point) = split_exponent(&format!("{x:.*e}", precision - 1));
    let most = i32::try_from(precision).unwrap_or(i32::MAX) - i32::from(dot_zero);
    let plain = -4 < point && point <= most;
    if alternate {
        let text = layout(&digits, point, plain, false);
        return with_dot(text);
    }
    let trimmed = digits.trim_end_matches('0');
    let trimmed = if trimmed.is_empty() { "0" } else { trimmed };
    layout(trimmed, point, plain, dot_zero)
}

/// `#` keeps the point even where no digit follows.
fn with_dot(text: String) -> String {
    match text.split_once('e') {
        _ if text.contains('.') => text,
        Some((mantissa, exponent)) => format!("{mantissa}.e{exponent}"),
        None => text + ".",
    }
}

pub(super) fn write_float(x: f64, spec: &Spec, out: &mut String) -> Done {
    let precision = spec.precision.unwrap_or(6);
    let kind = spec.kind.map(|k| k.to_ascii_lowercase());
    let magnitude = if kind == Some('%') { (x * 100.0).abs() } else { x.abs() };
    let mut text = match kind {
        Some('f' | 'e' | 'g' | 'n' | '%') | None if !magnitude.is_finite() => {
            (if magnitude.is_nan() { "nan" } else { "inf" }).to_owned()
        }
        Some('f' | '%') => format!("{magnitude:.precision$}"),
        Some('e') => {
            let (digits, point) = split_exponent(&format!("{magnitude:.precision$e}"));
            layout(&digits, point, false, false)
        }
        Some('g' | 'n') => general(magnitude, precision, spec.alternate, false),
        None => match spec.precision {
            Some(p) => general(magnitude, p, spec.alternate, true),
            None => float_repr(magnitude),
        },
        _ => return Err("the format specification does not fit a number with a fraction"),
    };
    if !matches!(spec.kind, None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'n' | '%')) {
        return Err("the format specification does not fit a number with a fraction");
    }
    if spec.alternate && magnitude.is_finite() {
        text = with_dot(text);
    }
    if spec.kind == Some('%') {
        text.push('%');
    }
    if spec.kind.is_some_and(|k| k.is_ascii_uppercase()) {
        text = text.to_ascii_uppercase();
    }
    let shown_zero = !text.contains(|c: char| ('1'..='9').contains(&c)) && magnitude.is_finite();
    let zero = shown_zero
        || text.split(['e', 'E']).next().is_some_and(|m| !m.contains(|c: char| ('1'..='9').contains(&c)));
    let negative = x.is_sign_negative() && !x.is_nan() && !(spec.plain_zero && zero && magnitude.is_finite());
    let whole = text.bytes().take_while(u8::is_ascii_digit).count();
    let tail = text.split_off(whole);
    place(Pieces { negative, prefix: "", digits: text, tail }, spec, 3, out);
    Ok(())
}

pub(super) fn write_int(n: i128, spec: &Spec, out: &mut String) -> Done {
    let kind = spec.kind.unwrap_or('d');
    if matches!(kind, 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') {
        return write_float(n as f64, spec, out);
    }
    if spec.precision.is_some() {
        return Err("a whole number takes no precision");
    }
    if spec.plain_zero {
        return Err("'z' of a format specification does not fit a whole number");
    }
    let size = n.unsigned_abs();
    let (digits, prefix, group) = match kind {
        'd' | 'n' => (size.to_string(), "", 3),
        'b' => (format!("{size:b}"), "0b", 4),
        'o' => (format!("{size:o}"), "0o", 4),
        'x' => (format!("{size:x}"), "0x", 4),
        'X' => (format!("{size:X}"), "0X", 4),
        'c' => return write_char(n, spec, out),
        _ => return Err("the format specification does not fit a whole number"),
    };
    let prefix = if spec.alternate { prefix } else { "" };
    place(Pieces { negative: n < 0, prefix, digits, tail: String::new() }, spec, group, out);
    Ok(())
}

fn write_char(n: i128, spec: &Spec, out: &mut String) -> Done {
    if spec.sign.is_some() || spec.alternate {
        return Err("'c' of a format specification takes no sign and no '#'");
    }
    let c = u32::try_from(n).ok().and_then(char::from_u32).ok_or("the number is no character")?;
    place(Pieces { negative: false, prefix: "", digits: String::new(), tail: c.to_string() }, spec, 3, out);
    Ok(())
}

fn place(p: Pieces, spec: &Spec, group: usize, out: &mut String) {
    let sign = if p.negative {
        "-"
    } else {
        match spec.sign {
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        }
    };
    let align = spec.align.unwrap_or(if spec.zero { Align::Numeric } else { Align::Right });
    let around = sign.len() + p.prefix.len() + p.tail.chars().count();
    let fill_digits = spec.filler() == '0' && align == Align::Numeric;
    let least = if fill_digits { spec.width.saturating_sub(around) } else { 0 };
    let digits = match spec.grouping {
        _ if p.digits.is_empty() => String::new(),
        Some(mark) => grouped(&p.digits, mark, group, least),
        None => format!("{:0>least$}", p.digits),
    };
    let missing = spec.width.saturating_sub(around + digits.len());
    let (left, inner, right) = match align {
        Align::Left => (0, 0, missing),
        Align::Right => (missing, 0, 0),
        Align::Center => (missing / 2, 0, missing - missing / 2),
        Align::Numeric => (0, missing, 0),
    };
    spec.pad(left, out);
    out.push_str(sign);
    out.push_str(p.prefix);
    spec.pad(inner, out);
    out.push_str(&digits);
    out.push_str(&p.tail);
    spec.pad(right, out);
}

/// Digits in groups from the right, with zeros before them up to `least` characters; a mark never stands first.
fn grouped(digits: &str, mark: char, group: usize, least: usize) -> String {
    let mut rest = digits.len();
    let mut left = least;
    let mut groups: Vec<String> = Vec::new();
    loop {
        let take = group.min(rest.max(left).max(1));
        let from_digits = take.min(rest);
        groups.push(format!("{}{}", "0".repeat(take - from_digits), &digits[rest - from_digits..rest]));
        rest -= from_digits;
        if rest == 0 && left <= take {
            break;
        }
        left = left.saturating_sub(take + 1);
    }
    groups.reverse();
    groups.join(mark.encode_utf8(&mut [0; 4]))
}
