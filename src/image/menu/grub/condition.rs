//! GRUB's `test` and `[`, as `commands/test.c` evaluates them: from left to right, `-a` and `-o` of equal rank as far
//! as they do not end an alternative, and true when there is nothing to test.

use crate::image::menu::bounded_files::BoundedFiles;
use crate::image::menu::path;
use std::cmp::Ordering;

/// Parentheses in parentheses.
const MAX_DEPTH: usize = 16;

/// Whether the arguments of `test`, or of `[` with its `]`, hold.
pub fn holds(iso: &mut BoundedFiles, args: &[String]) -> bool {
    let args = match args {
        [rest @ .., last] if last == "]" => rest,
        args => args,
    };
    Test { iso, args }.expression(0)
}

struct Test<'t, 'd, 'a> {
    iso: &'t mut BoundedFiles<'d>,
    /// The rest to be read.
    args: &'a [String],
}

impl Test<'_, '_, '_> {
    fn expression(&mut self, depth: usize) -> bool {
        let (mut and, mut or, mut invert) = (true, false, false);
        while let Some((word, rest)) = self.args.split_first() {
            let value = match self.operation() {
                Some(value) => value,
                None => {
                    self.args = rest;
                    match word.as_str() {
                        ")" => break,
                        "(" if depth < MAX_DEPTH => self.expression(depth + 1),
                        "!" => {
                            invert = !invert;
                            continue;
                        }
                        "-a" => continue,
                        "-o" => {
                            or |= and;
                            and = true;
                            continue;
                        }
                        word => !word.is_empty(),
                    }
                }
            };
            and &= value != invert;
            invert = false;
        }
        or || and
    }

    /// A comparison or a test of one operand, if the arguments begin with one.
    fn operation(&mut self) -> Option<bool> {
        if let [left, operator, right, rest @ ..] = self.args
            && let Some(value) = compare(left, operator, right)
        {
            self.args = rest;
            return Some(value);
        }
        let [operator, operand, rest @ ..] = self.args else {
            return None;
        };
        let value = self.unary(operator, operand)?;
        self.args = rest;
        Some(value)
    }

    fn unary(&mut self, operator: &str, operand: &str) -> Option<bool> {
        match operator {
            "-n" => Some(!operand.is_empty()),
            "-z" => Some(operand.is_empty()),
            // A listing does not tell a directory from a file, nor an empty file from another.
            "-d" | "-e" | "-f" | "-s" => {
                let path = path::resolve(operand, "/");
                Some(path.is_some_and(|path| self.iso.locate(&path).is_some()))
            }
            _ => None,
        }
    }
}

fn compare(left: &str, operator: &str, right: &str) -> Option<bool> {
    let by_number = || number(left).cmp(&number(right));
    Some(match operator {
        "=" | "==" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        "-eq" => by_number() == Ordering::Equal,
        "-ne" => by_number() != Ordering::Equal,
        "-lt" => by_number() == Ordering::Less,
        "-le" => by_number() != Ordering::Greater,
        "-gt" => by_number() == Ordering::Greater,
        "-ge" => by_number() != Ordering::Less,
        _ => return None,
    })
}

/// As C's `strtol` with base 0: what begins like a number, else 0.
fn number(text: &str) -> i64 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (base, text) = match text.strip_prefix("0x") {
        Some(rest) => (16, rest),
        None if text.len() > 1 && text.starts_with('0') => (8, text),
        None => (10, text),
    };
    let digits = text.chars().map_while(|c| c.to_digit(base));
    digits
        .fold(0i64, |sum, digit| sum.saturating_mul(base.into()).saturating_add(digit.into()))
        .saturating_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::menu::tests::Memory;

    fn test(expression: &str) -> bool {
        let files = Memory::of(&[("/boot/grub/x.cfg", "")]);
        let args: Vec<String> = expression.split(' ').map(|word| word.replace('_', "")).collect();
        holds(&mut BoundedFiles::new(&files), &args)
    }

    #[test]
    fn strings() {
        assert!(test("efi == efi ]") && test("a = a") && test("a != b ]") && test("a < b"));
        assert!(!test("efi == pc ]") && !test("a != a"));
    }

    #[test]
    fn numbers() {
        assert!(test("10 -gt 9 ]") && test("0x10 -eq 16") && test("-1 -lt 0") && test("x -eq 0"));
        assert!(!test("99999999999999999999999 -eq 1"));
    }

    #[test]
    fn empty_and_not() {
        assert!(test("-z _ ]") && test("-n a ]") && test("a ]") && test("! -n _ ]"));
        assert!(!test("-n _ ]") && !test("_ ]"));
    }

    #[test]
    fn nothing_is_true() {
        assert!(holds(&mut BoundedFiles::new(&Memory::default()), &["]".into()]));
        assert!(holds(&mut BoundedFiles::new(&Memory::default()), &[]));
    }

    #[test]
    fn files() {
        assert!(test("-e (hd0)/boot/grub/x.cfg ]") && test("-f /BOOT/grub/x.cfg ]") && test("-d /boot ]"));
        assert!(!test("-e /boot/y ]") && test("! -s /boot/y"));
    }

    #[test]
    fn and_or_and_parentheses() {
        assert!(test("a == b -o c == c ]") && test("a == a -a c == c ]"));
        assert!(!test("a == a -a c == d ]") && test("c == d -a a == a -o a == a"));
        assert!(test("! ( a == a -a c == d ) ]"));
        assert!(!test(&format!("{}_", "( ".repeat(1000))));
    }

    #[test]
    fn an_operator_without_operand_is_a_word() {
        assert!(test("cpuid -l ]") && test("-f ]"));
    }
}
