//! Python's format specification: `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`.

/// A wider field, or more digits, is a mistake.
const MOST: usize = 65_536;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
    Center,
    /// Padding goes between sign and digits.
    Numeric,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Spec {
    pub(super) fill: Option<char>,
    pub(super) align: Option<Align>,
    pub(super) sign: Option<char>,
    /// `z`: a negative zero is written as zero.
    pub(super) plain_zero: bool,
    /// `#`.
    pub(super) alternate: bool,
    /// A `0` before the width, with no fill before it.
    pub(super) zero: bool,
    pub(super) width: usize,
    pub(super) grouping: Option<char>,
    pub(super) precision: Option<usize>,
    pub(super) kind: Option<char>,
    plain: bool,
}

fn number(rest: &mut &str) -> Result<Option<usize>, &'static str> {
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return Ok(None);
    }
    let (digits, tail) = rest.split_at(len);
    *rest = tail;
    match digits.parse::<usize>() {
        Ok(n) if n <= MOST => Ok(Some(n)),
        _ => Err("a width or precision of a format specification is at most 65536"),
    }
}

impl Spec {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let align = |c: char| match c {
            '<' => Some(Align::Left),
            '>' => Some(Align::Right),
            '^' => Some(Align::Center),
            '=' => Some(Align::Numeric),
            _ => None,
        };
        let mut spec = Self { plain: text.is_empty(), ..Self::default() };
        let mut rest = text;
        let mut chars = text.chars();
        let (first, second) = (chars.next(), chars.next());
        if let (Some(fill), Some(a)) = (first, second.and_then(align)) {
            (spec.fill, spec.align) = (Some(fill), Some(a));
            rest = chars.as_str();
        } else if let Some(a) = first.and_then(align) {
            spec.align = Some(a);
            rest = &text[1..];
        }
        let eat = |rest: &mut &str, c: char| match rest.strip_prefix(c) {
            Some(tail) => {
                *rest = tail;
                true
            }
            None => false,
        };
        spec.sign = ['+', '-', ' '].into_iter().find(|c| eat(&mut rest, *c));
        spec.plain_zero = eat(&mut rest, 'z');
        spec.alternate = eat(&mut rest, '#');
        spec.zero = spec.fill.is_none() && eat(&mut rest, '0');
        spec.width = number(&mut rest)?.unwrap_or(0);
        spec.grouping = [',', '_'].into_iter().find(|c| eat(&mut rest, *c));
        if spec.grouping.is_some() && rest.starts_with([',', '_']) {
            return Err("a format specification has one grouping sign at most");
        }
        if eat(&mut rest, '.') {
            spec.precision = Some(number(&mut rest)?.ok_or("the precision is missing after '.'")?);
        }
        let mut rest = rest.chars();
        spec.kind = rest.next();
        if rest.next().is_some() {
            return Err("the format specification can't be understood");
        }
        if let (Some(sign), Some(kind)) = (spec.grouping, spec.kind)
            && !(matches!(kind, 'd' | 'e' | 'f' | 'g' | 'E' | 'G' | '%' | 'F')
                || sign == '_' && matches!(kind, 'b' | 'o' | 'x' | 'X'))
        {
            return Err("this type of a format specification takes no grouping sign");
        }
        Ok(spec)
    }

    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Writes a text by the rules for texts.
    pub(super) fn write_text(&self, text: &str, out: &mut String) -> Result<(), &'static str> {
        if !matches!(self.kind, None | Some('s')) {
            return Err("the format specification is for numbers, but the value is a text");
        }
        if self.sign.is_some() || self.plain_zero || self.alternate || self.align == Some(Align::Numeric) {
            return Err(
                "sign, 'z', '#' and '=' of a format specification are for numbers, but the value is a text",
            );
        }
        if self.grouping.is_some() {
            return Err("a grouping sign is for numbers, but the value is a text");
        }
        let cut = self.precision.and_then(|p| text.char_indices().nth(p)).map_or(text.len(), |(at, _)| at);
        let text = &text[..cut];
        let missing = self.width.saturating_sub(text.chars().count());
        let left = match self.align.unwrap_or(Align::Left) {
            Align::Left | Align::Numeric => 0,
            Align::Right => missing,
            Align::Center => missing / 2,
        };
        self.pad(left, out);
        out.push_str(text);
        self.pad(missing - left, out);
        Ok(())
    }

    /// The character that fills the width.
    pub(super) fn filler(&self) -> char {
        self.fill.unwrap_or(if self.zero { '0' } else { ' ' })
    }

    pub(super) fn pad(&self, count: usize, out: &mut String) {
        out.extend(std::iter::repeat_n(self.filler(), count));
    }
}
