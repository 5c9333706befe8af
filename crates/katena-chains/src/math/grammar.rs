//! The grammar of calculations and what it gives. Nothing is run but this.

use katena_core::{Error, Result};

use super::number::Number;

/// The longest expression, in bytes.
const MOST_BYTES: usize = 4096;
/// How deep parentheses, signs and powers may be nested.
const MOST_DEPTH: usize = 64;
/// The largest power of an integer or fraction that is multiplied out, and the largest factorial.
const MOST_POWER: f64 = 100_000.0;

/// Calculates an expression.
///
/// ```text
/// sum      = product (("+" | "-") product)*
/// product  = sign (("*" | "×" | "·" | "/" | "÷" | "%" | "mod") sign)*
/// sign     = ("+" | "-" | "−") sign | power
/// power    = atom (("^" | "**") sign)?          right to left, before the sign on its left: -2^2 is -4
/// atom     = number | constant | function "(" sum ("," sum)* ")" | "(" sum ")"
/// number   = digits ("." digits)? ("e" ("+" | "-")? digits)?
/// ```
///
/// Constants: `pi`, `e`, `tau`. Functions: `abs floor ceil trunc sign sqrt cbrt exp ln log10 log2 sin cos tan asin acos
/// atan sinh cosh tanh deg rad factorial` of one number; `round(x)`, `round(x, digits)`; `log(x)` to base 10, `log(x,
/// base)`; `pow mod atan2 hypot gcd lcm ncr npr` of two; `min max sum avg` of one and more. Angles are in radians, names in
/// any case. `%` and `mod` give the rest of the floored division, with the sign of the divisor. `+ - * / %` and powers of
/// integers and decimal fractions are exact within 128 bits.
///
/// At most 4096 bytes, 64 levels deep. A result that is no finite real number is an error; so is what stands outside the
/// grammar, such as `1,000` or `2(3)`: nothing is guessed.
///
/// # Errors
/// `InvalidInput` with the place (byte) of the fault.
///
/// ```
/// use katena_chains::evaluate;
/// assert_eq!(evaluate("(12.5 - 2.5) * 3")?.as_integer(), Some(30));
/// assert_eq!(evaluate("round(1200 * (1 + 0.035)^10, 2)")?.to_string(), "1692.72");
/// assert!(evaluate("1/0").is_err());
/// assert!(evaluate("__import__('os')").is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn evaluate(expression: &str) -> Result<Number> {
    if expression.len() > MOST_BYTES {
        return Err(Error::invalid_input("the expression is longer than the limit")
            .with_context("limit", format!("{MOST_BYTES} bytes")));
    }
    let mut parser = Parser { text: expression, at: 0, depth: 0 };
    let value = parser.sum()?;
    parser.space();
    match parser.peek() {
        None => Ok(value),
        Some(',') => {
            Err(parser.fault("a comma stands outside of a function; write numbers without separators"))
        }
        Some(_) => Err(parser.fault("an operator was expected")),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn fault(&self, what: &'static str) -> Error {
        Error::invalid_input(what).with_context("at", self.at.to_string())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += self.peek().map_or(0, char::len_utf8);
        }
    }

    /// Takes the first of these that comes next.
    fn take(&mut self, tokens: &[&'static str]) -> Option<&'static str> {
        self.space();
        let rest = &self.text[self.at..];
        let token = tokens.iter().find(|t| rest.starts_with(**t))?;
        self.at += token.len();
        Some(token)
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(self.fault("the expression is nested deeper than the limit"));
        }
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn finite(&self, value: Number) -> Result<Number> {
        if value.is_finite() { Ok(value) } else { Err(self.fault("the result is no finite number")) }
    }

    fn sum(&mut self) -> Result<Number> {
        let mut value = self.product()?;
        while let Some(sign) = self.take(&["+", "-", "−"]) {
            let other = self.product()?;
            value = if sign == "+" { value.plus(other) } else { value.minus(other) };
            value = self.finite(value)?;
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<Number> {
        let mut value = self.sign()?;
        loop {
            self.space();
            // Powers were taken before: what starts with an asterisk here is a product.
            let Some(operator) = self.take(&["*", "×", "·", "/", "÷", "%", "mod"]) else {
                return Ok(value);
            };
            let other = self.sign()?;
            let zero = || Error::invalid_input("division by zero").with_context("at", self.at.to_string());
            value = match operator {
                "/" | "÷" => value.over(other).ok_or_else(zero)?,
                "%" | "mod" => value.modulo(other).ok_or_else(zero)?,
                _ => value.times(other),
            };
            value = self.finite(value)?;
        }
    }

    fn sign(&mut self) -> Result<Number> {
        match self.take(&["+", "-", "−"]) {
            None => self.power(),
            Some("+") => self.deeper(Self::sign),
            Some(_) => Ok(self.deeper(Self::sign)?.negated()),
        }
    }

    fn power(&mut self) -> Result<Number> {
        let base = self.atom()?;
        if self.take(&["^", "**"]).is_none() {
            return Ok(base);
        }
        let exponent = self.deeper(Self::sign)?;
        self.raise(base, exponent)
    }

    fn raise(&self, base: Number, exponent: Number) -> Result<Number> {
        if exponent.as_f64().abs() > MOST_POWER {
            return Err(self.fault("the power is larger than the limit"));
        }
        let power = base.power(exponent).ok_or_else(|| self.fault("the power is no real number"))?;
        self.finite(power)
    }

    fn atom(&mut self) -> Result<Number> {
        self.space();
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let value = self.deeper(Self::sum)?;
                if self.take(&[")"]).is_none() {
                    return Err(self.fault("a closing parenthesis was expected"));
                }
                Ok(value)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some('π') => {
                self.at += 'π'.len_utf8();
                Ok(Number::float(std::f64::consts::PI))
            }
            Some(c) if c.is_ascii_alphabetic() => self.name(),
            Some(_) => Err(self.fault("a number, a function or a parenthesis was expected")),
            None => Err(self.fault("the expression ends too early")),
        }
    }

    fn digits(&mut self) -> usize {
        let count = self.text[self.at..].bytes().take_while(u8::is_ascii_digit).count();
        self.at += count;
        count
    }

    fn number(&mut self) -> Result<Number> {
        let start = self.at;
        let whole = self.digits();
        let mut decimals = 0;
        if self.peek() == Some('.') {
            self.at += 1;
            decimals = self.digits();
        }
        if whole + decimals == 0 {
            return Err(self.fault("a number was expected"));
        }
        let mantissa_end = self.at;
        let mut power = 0;
        let rest = &self.text.as_bytes()[self.at..];
        let signed = matches!(rest.get(1), Some(b'+' | b'-'));
        if matches!(rest.first(), Some(b'e' | b'E'))
            && rest.get(1 + usize::from(signed)).is_some_and(u8::is_ascii_digit)
        {
            self.at += 1 + usize::from(signed);
            self.digits();
            power = self.text[mantissa_end + 1..self.at]
                .parse::<i32>()
                .map_err(|_| self.fault("the exponent is larger than the limit"))?;
        }
        if matches!(self.peek(), Some('.' | '_')) {
            return Err(self.fault("this is no number"));
        }
        let digits: String = self.text[start..mantissa_end].chars().filter(|c| *c != '.').collect();
        let power = i64::from(power) - i64::try_from(decimals).unwrap_or(i64::MAX);
        let exact = digits.parse::<i128>().ok().and_then(|top| {
            let scale = 10_i128.checked_pow(u32::try_from(power.abs()).ok()?)?;
            if power < 0 {
                Number::fraction(top, scale)
            } else {
                Some(Number::integer(top.checked_mul(scale)?))
            }
        });
        let float = || self.text[start..self.at].parse().map_err(|_| self.fault("this is no number"));
        let value = exact.map_or_else(|| float().map(Number::float), Ok)?;
        self.finite(value)
    }

    fn name(&mut self) -> Result<Number> {
        let start = self.at;
        let rest = self.text[start..].bytes();
        let length = rest.take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let name = self.text[start..start + length].to_ascii_lowercase();
        self.at += length;
        if self.take(&["("]).is_none() {
            let value = match name.as_str() {
                "pi" => std::f64::consts::PI,
                "e" => std::f64::consts::E,
                "tau" => std::f64::consts::TAU,
                _ => {
                    self.at = start;
                    return Err(self.fault("there is no constant of this name"));
                }
            };
            return Ok(Number::float(value));
        }
        let mut arguments = Vec::new();
        if self.take(&[")"]).is_none() {
            loop {
                arguments.push(self.deeper(Self::sum)?);
                match self.take(&[",", ")"]) {
                    Some(")") => break,
                    Some(_) => {}
                    None => return Err(self.fault("a comma or a closing parenthesis was expected")),
                }
            }
        }
        let value = super::functions::call(&name, &arguments)
            .map_err(|what| Error::invalid_input(what).with_context("at", start.to_string()))?;
        self.finite(value)
    }
}
