//! Job: where in a file something stands, for a person.
//! Knows: lines and characters. Must never know: what stands there.

/// Places of one text. Asked for in its order, all of them together cost one walk through it.
#[derive(Debug)]
pub struct Places<'a> {
    name: &'a str,
    text: &'a str,
    /// As far as it was walked.
    offset: usize,
    line: usize,
    column: usize,
}

impl<'a> Places<'a> {
    /// Those of a file of this name.
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Places { name, text, offset: 0, line: 1, column: 1 }
    }

    /// `name:line:column`, both counted from one, columns in characters.
    pub fn of(&mut self, offset: usize) -> String {
        let offset = self.text.floor_char_boundary(offset);
        if offset < self.offset {
            (self.offset, self.line, self.column) = (0, 1, 1);
        }
        for character in self.text[self.offset..offset].chars() {
            match character {
                '\n' => (self.line, self.column) = (self.line + 1, 1),
                _ => self.column += 1,
            }
        }
        self.offset = offset;
        format!("{}:{}:{}", self.name, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_counting_anew_gives_in_any_order() {
        let text = "a\nbé = 1\n\n[x]\r\ny";
        let anew = |offset: usize| {
            let before = &text[..text.floor_char_boundary(offset)];
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("f:{}:{column}", before.matches('\n').count() + 1)
        };
        let mut places = Places::new("f", text);
        for offset in (0..text.len() + 3).chain((0..text.len() + 3).rev()).chain([3, 3, 9, 4]) {
            assert_eq!(places.of(offset), anew(offset), "{offset}");
        }
    }
}
