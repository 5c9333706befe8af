//! Numbers of a calculation: exact fractions as long as they can be, floating point after that.

use std::fmt;

/// What a calculation gives: an exact fraction of two 128-bit integers, or a 64-bit floating-point number where exact
/// arithmetic ends (roots, sines, results beyond 128 bits).
///
/// ```
/// use katena_chains::evaluate;
/// assert_eq!(evaluate("0.1 + 0.2")?.to_string(), "0.3");
/// assert_eq!(evaluate("2^100")?.as_integer(), Some(1 << 100));
/// assert_eq!(evaluate("1/3")?.to_string(), "0.333333333333333");
/// assert!(!evaluate("sqrt(2)")?.is_exact());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq)]
pub struct Number(Form);

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// Lowest terms, denominator above 0.
    Exact { top: i128, bottom: i128 },
    /// Finite, except within a calculation.
    Float(f64),
}

/// Digits after the point that an exact number is printed with at most.
const DIGITS: u32 = 28;

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Number {
    /// An integer.
    pub fn integer(value: i128) -> Self {
        Self(Form::Exact { top: value, bottom: 1 })
    }

    pub(super) fn float(value: f64) -> Self {
        Self(Form::Float(value))
    }

    /// `top / bottom` in lowest terms, if that can be told in 128 bits.
    pub(super) fn fraction(top: i128, bottom: i128) -> Option<Self> {
        let divisor =
            i128::try_from(gcd(top.unsigned_abs(), bottom.unsigned_abs())).ok().filter(|d| *d > 0)?;
        let (top, bottom) = (top / divisor, bottom / divisor);
        let (top, bottom) =
            if bottom < 0 { (top.checked_neg()?, bottom.checked_neg()?) } else { (top, bottom) };
        (bottom > 0).then_some(Self(Form::Exact { top, bottom }))
    }

    /// The value as a 64-bit floating-point number, rounded where it has more digits.
    #[expect(clippy::cast_precision_loss, reason = "said so")]
    pub fn as_f64(&self) -> f64 {
        match self.0 {
            Form::Exact { top, bottom: 1 } => top as f64,
            Form::Exact { top, bottom } => top as f64 / bottom as f64,
            Form::Float(value) => value,
        }
    }

    /// The value if it is an exact integer.
    pub fn as_integer(&self) -> Option<i128> {
        match self.0 {
            Form::Exact { top, bottom: 1 } => Some(top),
            _ => None,
        }
    }

    /// True if nothing was rounded on the way to it.
    pub fn is_exact(&self) -> bool {
        matches!(self.0, Form::Exact { .. })
    }

    pub(super) fn is_finite(&self) -> bool {
        self.as_f64().is_finite()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.as_f64() == 0.0
    }

    pub(super) fn is_negative(&self) -> bool {
        match self.0 {
            Form::Exact { top, .. } => top < 0,
            Form::Float(value) => value < 0.0,
        }
    }

    /// Exactly if it goes, else in floating point.
    fn either(
        self,
        other: Self,
        exact: impl Fn(i128, i128, i128, i128) -> Option<Self>,
        float: impl Fn(f64, f64) -> f64,
    ) -> Self {
        if let (Form::Exact { top: a, bottom: b }, Form::Exact { top: c, bottom: d }) = (self.0, other.0)
            && let Some(number) = exact(a, b, c, d)
        {
            return number;
        }
        Self::float(float(self.as_f64(), other.as_f64()))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let exact = |a: i128, b: i128, c: i128, d: i128| {
            Self::fraction(a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?)
        };
        self.either(other, exact, |a, b| a + b)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    pub(super) fn negated(self) -> Self {
        match self.0 {
            Form::Exact { top, bottom } => top
                .checked_neg()
                .map_or_else(|| Self::float(-self.as_f64()), |top| Self(Form::Exact { top, bottom })),
            Form::Float(value) => Self::float(-value),
        }
    }

    pub(super) fn times(self, other: Self) -> Self {
        let exact = |a: i128, b: i128, c: i128, d: i128| Self::fraction(a.checked_mul(c)?, b.checked_mul(d)?);
        self.either(other, exact, |a, b| a * b)
    }

    /// `None` for a division by zero.
    pub(super) fn over(self, other: Self) -> Option<Self> {
        let exact = |a: i128, b: i128, c: i128, d: i128| Self::fraction(a.checked_mul(d)?, b.checked_mul(c)?);
        (!other.is_zero()).then(|| self.either(other, exact, |a, b| a / b))
    }

    /// The rest of the floored division: it has the sign of `other`. `None` for a division by zero.
    pub(super) fn modulo(self, other: Self) -> Option<Self> {
        let floats = |a: f64, b: f64| a - b * (a / b).floor();
        if self.is_exact() && other.is_exact() {
            let whole = self.over(other)?.floor();
            let rest = self.minus(other.times(whole));
            if rest.is_exact() {
                return Some(rest);
            }
        }
        (!other.is_zero()).then(|| Self::float(floats(self.as_f64(), other.as_f64())))
    }

    /// `None` for a power that is no real number (0 to a negative power, a negative base to a fraction).
    pub(super) fn power(self, exponent: Self) -> Option<Self> {
        if self.is_zero() && exponent.is_negative() {
            return None;
        }
        if let (Form::Exact { top, bottom }, Some(times)) = (self.0, exponent.as_integer())
            && let Ok(times) = i32::try_from(times)
        {
            let (top, bottom) = if times < 0 { (bottom, top) } else { (top, bottom) };
            let times = times.unsigned_abs();
            if let (Some(top), Some(bottom)) = (top.checked_pow(times), bottom.checked_pow(times))
                && let Some(number) = Self::fraction(top, bottom)
            {
                return Some(number);
            }
        }
        let value = self.as_f64().powf(exponent.as_f64());
        (!value.is_nan()).then(|| Self::float(value))
    }

    pub(super) fn floor(self) -> Self {
        match self.0 {
            Form::Exact { top, bottom } => Self::integer(top.div_euclid(bottom)),
            Form::Float(value) => Self::float(value.floor()),
        }
    }

    pub(super) fn ceil(self) -> Self {
        self.negated().floor().negated()
    }

    pub(super) fn truncated(self) -> Self {
        if self.is_negative() { self.ceil() } else { self.floor() }
    }

    pub(super) fn absolute(self) -> Self {
        if self.is_negative() { self.negated() } else { self }
    }

    /// Halves go away from zero.
    pub(super) fn rounded(self, digits: i32) -> Option<Self> {
        let scale = Self::integer(10).power(Self::integer(i128::from(digits)))?;
        let half = Self::fraction(1, 2)?;
        let scaled = self.absolute().times(scale).plus(half).floor().over(scale)?;
        Some(if self.is_negative() { scaled.negated() } else { scaled })
    }

    pub(super) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let difference = self.minus(*other);
        if difference.is_negative() {
            std::cmp::Ordering::Less
        } else if difference.is_zero() {
            std::cmp::Ordering::Equal
        } else {
            std::cmp::Ordering::Greater
        }
    }

    /// The digits of an exact number that has an end, such as `0.125`.
    fn decimal(top: i128, bottom: i128) -> Option<String> {
        let (mut rest, mut digits) = (bottom, 0);
        let mut scaled = top.unsigned_abs();
        while rest != 1 {
            digits += 1;
            if digits > DIGITS {
                return None;
            }
            scaled = scaled.checked_mul(10)?;
            let divisor = gcd(10, rest.unsigned_abs());
            rest /= i128::try_from(divisor).ok()?;
            if divisor == 1 {
                return None;
            }
        }
        let value = scaled / bottom.unsigned_abs();
        let sign = if top < 0 { "-" } else { "" };
        if digits == 0 {
            return Some(format!("{sign}{value}"));
        }
        let unit = 10_u128.checked_pow(digits)?;
        let text = format!("{sign}{}.{:0width$}", value / unit, value % unit, width = digits as usize);
        Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    }
}

/// Exact numbers with all their digits, others with 15 that count; very large and small ones as `1.5e300`.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Form::Exact { top, bottom } = self.0
            && let Some(text) = Self::decimal(top, bottom)
        {
            return f.write_str(&text);
        }
        let value = self.as_f64();
        let text = format!("{value:.14e}");
        let Some((mantissa, exponent)) = text.split_once('e') else { return f.write_str(&text) };
        let power: i32 = exponent.parse().unwrap_or_default();
        if (-6..21).contains(&power) {
            let digits = usize::try_from(14 - power).unwrap_or_default();
            let plain = format!("{value:.digits$}");
            let plain =
                if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { &plain };
            return f.write_str(if plain == "-0" { "0" } else { plain });
        }
        write!(f, "{}e{power}", mantissa.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({self})")
    }
}

/// JSON has the same digits: an integer within 64 bits, else a floating-point number.
impl From<Number> for serde_json::Value {
    fn from(number: Number) -> Self {
        match number.as_integer().and_then(|n| i64::try_from(n).ok()) {
            Some(integer) => integer.into(),
            None => number.as_f64().into(),
        }
    }
}
