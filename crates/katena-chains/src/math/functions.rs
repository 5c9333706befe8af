//! The functions of calculations.

use super::number::Number;

const UNKNOWN: &str = "there is no function of this name";
const COUNT: &str = "the function takes another number of arguments";
const DOMAIN: &str = "the function has no real value there";
const WHOLE: &str = "the function takes integers only";
/// The largest factorial within a 64-bit floating-point number.
const MOST_FACTORIAL: i128 = 170;

type Answer = Result<Number, &'static str>;

/// The value of the function of that name (lower case).
pub(super) fn call(name: &str, arguments: &[Number]) -> Answer {
    match arguments {
        [x] => {
            if let Some(answer) = of_one(name, *x) {
                return answer;
            }
        }
        [x, y] => {
            if let Some(answer) = of_two(name, *x, *y) {
                return answer;
            }
        }
        _ => {}
    }
    let total = || arguments.iter().fold(Number::integer(0), |sum, x| sum.plus(*x));
    match (name, arguments) {
        ("min" | "max" | "sum" | "avg", []) => Err(COUNT),
        ("min", [first, rest @ ..]) => {
            Ok(rest.iter().fold(*first, |a, b| if b.compare(&a).is_lt() { *b } else { a }))
        }
        ("max", [first, rest @ ..]) => {
            Ok(rest.iter().fold(*first, |a, b| if b.compare(&a).is_gt() { *b } else { a }))
        }
        ("sum", _) => Ok(total()),
        ("avg", _) => total().over(Number::integer(arguments.len() as i128)).ok_or(COUNT),
        // A name that is known with another count of arguments.
        _ if of_one(name, Number::integer(1)).is_some()
            || of_two(name, Number::integer(1), Number::integer(1)).is_some() =>
        {
            Err(COUNT)
        }
        _ => Err(UNKNOWN),
    }
}

fn float(value: f64) -> Answer {
    if value.is_nan() { Err(DOMAIN) } else { Ok(Number::float(value)) }
}

fn of_one(name: &str, x: Number) -> Option<Answer> {
    let f = x.as_f64();
    Some(match name {
        "abs" => Ok(x.absolute()),
        "floor" => Ok(x.floor()),
        "ceil" => Ok(x.ceil()),
        "trunc" | "int" => Ok(x.truncated()),
        "round" => x.rounded(0).ok_or(DOMAIN),
        "sign" => Ok(Number::integer(if x.is_zero() { 0 } else { 1 - 2 * i128::from(x.is_negative()) })),
        "sqrt" => square_root(x),
        "cbrt" => float(f.cbrt()),
        "exp" => float(f.exp()),
        "ln" => float(logarithm(f, f64::ln)),
        "log" | "log10" => float(logarithm(f, f64::log10)),
        "log2" => float(logarithm(f, f64::log2)),
        "sin" => float(f.sin()),
        "cos" => float(f.cos()),
        "tan" => float(f.tan()),
        "asin" => float(f.asin()),
        "acos" => float(f.acos()),
        "atan" => float(f.atan()),
        "sinh" => float(f.sinh()),
        "cosh" => float(f.cosh()),
        "tanh" => float(f.tanh()),
        "deg" => float(f.to_degrees()),
        "rad" => float(f.to_radians()),
        "factorial" => factorial(x),
        _ => return None,
    })
}

fn of_two(name: &str, x: Number, y: Number) -> Option<Answer> {
    let (f, g) = (x.as_f64(), y.as_f64());
    Some(match name {
        "round" => match y.as_integer().and_then(|d| i32::try_from(d).ok()) {
            Some(digits @ -30..=30) => x.rounded(digits).ok_or(DOMAIN),
            _ => Err("round takes a whole number of digits from -30 to 30"),
        },
        "log" if g > 0.0 && f > 0.0 && g != 1.0 => float(f.log(g)),
        "log" => Err(DOMAIN),
        "pow" if g.abs() > 100_000.0 => Err("the power is larger than the limit"),
        "pow" => x.power(y).ok_or(DOMAIN),
        "mod" => x.modulo(y).ok_or("division by zero"),
        "atan2" => float(f.atan2(g)),
        "hypot" => float(f.hypot(g)),
        "gcd" => common_divisor(x, y),
        "lcm" => common_multiple(x, y),
        "ncr" => chosen(x, y, true),
        "npr" => chosen(x, y, false),
        _ => return None,
    })
}

fn logarithm(x: f64, of: fn(f64) -> f64) -> f64 {
    if x > 0.0 { of(x) } else { f64::NAN }
}

/// Exact for squares of integers.
fn square_root(x: Number) -> Answer {
    if x.is_negative() {
        return Err(DOMAIN);
    }
    if let Some(n) = x.as_integer() {
        let root = n.isqrt();
        if root * root == n {
            return Ok(Number::integer(root));
        }
    }
    float(x.as_f64().sqrt())
}

fn factorial(x: Number) -> Answer {
    match x.as_integer() {
        Some(n @ 0..=MOST_FACTORIAL) => {
            Ok((2..=n).fold(Number::integer(1), |product, k| product.times(Number::integer(k))))
        }
        Some(n) if n > 0 => Err("the factorial is larger than the limit"),
        _ => Err(WHOLE),
    }
}

fn common_divisor(x: Number, y: Number) -> Answer {
    let (Some(mut a), Some(mut b)) = (x.as_integer(), y.as_integer()) else { return Err(WHOLE) };
    while b != 0 {
        (a, b) = (b, a.checked_rem(b).unwrap_or(0));
    }
    Ok(Number::integer(a).absolute())
}

fn common_multiple(x: Number, y: Number) -> Answer {
    let divisor = common_divisor(x, y)?;
    if divisor.is_zero() {
        return Ok(divisor);
    }
    x.over(divisor).map(|part| part.times(y).absolute()).ok_or(DOMAIN)
}

/// n!/(n−k)!, divided by k! if the order does not count.
fn chosen(n: Number, k: Number, unordered: bool) -> Answer {
    let (Some(n), Some(k)) = (n.as_integer(), k.as_integer()) else { return Err(WHOLE) };
    if n < 0 || k < 0 {
        return Err(DOMAIN);
    }
    if k > n {
        return Ok(Number::integer(0));
    }
    let k = if unordered { k.min(n - k) } else { k };
    if k > 1000 {
        return Err("the count is larger than the limit");
    }
    let mut value = Number::integer(1);
    for step in 1..=k {
        value = value.times(Number::integer(n - k + step));
        if unordered {
            value = value.over(Number::integer(step)).ok_or(DOMAIN)?;
        }
    }
    Ok(value)
}
