//! Translation edit rate (TER; Snover et al., 2006), computed as by sacrebleu 2.6, which follows Tercom. TER is the
//! number of word edits and shifts of blocks that turn a candidate (the text that is scored) into a reference, divided
//! by the number of words in the reference.

/// Maximum length of a block that is shifted, in words.
const MAX_SHIFT_LENGTH: usize = 10;
/// Maximum distance of a shift, in words.
const MAX_SHIFT_DISTANCE: usize = 50;
/// Half the width of the band around the diagonal of the table in which edit distances are computed, in words.
const BEAM: usize = 25;
/// Maximum number of shifts that are tried for one candidate and one reference.
const MAX_SHIFTS_TRIED: usize = 1000;
/// The cost in a cell of the table of edit distances that is outside the band around the diagonal, where no distance is
/// computed.
const UNREACHED: u32 = u32::MAX / 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Keep,
    Replace,
    /// Insert a word of the reference that the candidate lacks.
    Insert,
    /// Delete a word of the candidate that the reference lacks.
    Delete,
    None,
}

/// The words of a text in lower case, each replaced by a number. `known` maps words to their numbers.
fn words<'t>(text: &'t str, known: &mut std::collections::HashMap<String, u32>) -> Vec<u32> {
    let mut number = |word: &'t str| {
        let next = known.len() as u32;
        *known.entry(word.to_lowercase()).or_insert(next)
    };
    text.split_whitespace().map(&mut number).collect()
}

/// The number of edits from a candidate to its nearest reference, and the mean number of words in its references.
pub fn statistics(candidate: &str, references: &[&str]) -> (f64, f64) {
    let mut known = std::collections::HashMap::new();
    let candidate = words(candidate, &mut known);
    let references: Vec<Vec<u32>> = references.iter().map(|r| words(r, &mut known)).collect();
    let edits = references.iter().map(|r| edits(&candidate, r)).min().unwrap_or(0);
    let length = references.iter().map(Vec::len).sum::<usize>() as f64 / references.len().max(1) as f64;
    (edits as f64, length)
}

/// TER in percent, from the number of edits and the number of words in the references.
pub fn rate((edits, length): (f64, f64)) -> f64 {
    if length > 0.0 {
        100.0 * edits / length
    } else if edits > 0.0 {
        100.0
    } else {
        0.0
    }
}

/// TER of one sentence, in percent. 0 means that candidate and reference are equal, and TER may exceed 100.
pub fn sentence(candidate: &str, references: &[&str]) -> f64 {
    rate(statistics(candidate, references))
}

/// TER of a corpus, in percent. `pairs` are the candidates, each with its references.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> f64 {
    let each = pairs.into_iter().map(|(candidate, references)| statistics(candidate, &references));
    rate(each.fold((0.0, 0.0), |(e, l), (edits, length)| (e + edits, l + length)))
}

/// The number of shifts and other edits that turn a candidate into a reference. Words are given as numbers.
fn edits(candidate: &[u32], reference: &[u32]) -> usize {
    if reference.is_empty() {
        return candidate.len();
    }
    let mut words = candidate.to_vec();
    let (mut shifts, mut tried) = (0, 0);
    let mut table = EditTable::new(reference, words.len());
    loop {
        table.fill(&words);
        let Some((gain, shifted)) = best_shift(&words, reference, &mut table, &mut tried) else { break };
        if tried >= MAX_SHIFTS_TRIED || gain <= 0 {
            break;
        }
        shifts += 1;
        words = shifted;
    }
    table.fill(&words);
    shifts + table.distance() as usize
}

/// The table of edit distances: the cost and the last edit for every pair of a prefix of the candidate and a prefix of
/// the reference near the diagonal. Each row belongs to a prefix of the candidate. When the table is filled for another
/// candidate, the rows of the prefixes that it shares with the previous one are kept.
struct EditTable<'r> {
    reference: &'r [u32],
    /// The candidate for which the rows of the table were computed.
    candidate: Vec<u32>,
    cells: Vec<(u32, Edit)>,
    rows: usize,
}

impl<'r> EditTable<'r> {
    fn new(reference: &'r [u32], rows: usize) -> Self {
        let width = reference.len() + 1;
        let mut cells = vec![(UNREACHED, Edit::None); (rows + 1) * width];
        for (j, cell) in cells[..width].iter_mut().enumerate() {
            *cell = (j as u32, Edit::Insert);
        }
        // No word has the number `u32::MAX`, so that all rows are computed at first.
        Self { reference, candidate: vec![u32::MAX; rows], cells, rows }
    }

    fn distance(&self) -> u32 {
        self.cells[self.cells.len() - 1].0
    }

    /// Computes the rows of the table for a candidate, from the first word that differs from the previous candidate.
    fn fill(&mut self, words: &[u32]) {
        let width = self.reference.len() + 1;
        let same = words.iter().zip(&self.candidate).take_while(|(a, b)| a == b).count();
        let ratio = self.reference.len() as f64 / words.len().max(1) as f64;
        let beam = if (BEAM as f64) < ratio / 2.0 { (ratio / 2.0 + BEAM as f64).ceil() as usize } else { BEAM };
        for i in same + 1..=self.rows {
            let diagonal = (i as f64 * ratio).floor() as usize;
            let from = diagonal.saturating_sub(beam);
            let to = if i == self.rows { width } else { width.min(diagonal + beam) };
            self.cells[i * width..(i + 1) * width].fill((UNREACHED, Edit::None));
            for j in from..to {
                let above = self.cells[(i - 1) * width + j].0;
                let mut best = (UNREACHED, Edit::None);
                if j == 0 {
                    best = (above + 1, Edit::Delete);
                } else {
                    let same = words[i - 1] == self.reference[j - 1];
                    let diagonal = self.cells[(i - 1) * width + j - 1].0;
                    let steps = [
                        if same { (diagonal, Edit::Keep) } else { (diagonal + 1, Edit::Replace) },
                        (above + 1, Edit::Delete),
                        (self.cells[i * width + j - 1].0 + 1, Edit::Insert),
                    ];
                    for step in steps {
                        if step.0 < best.0 {
                            best = step;
                        }
                    }
                }
                self.cells[i * width + j] = best;
            }
        }
        self.candidate.copy_from_slice(words);
    }

    /// The alignment of candidate and reference with the fewest edits, found by following the edits back from the last
    /// cell of the table.
    fn alignment(&self) -> Alignment {
        let width = self.reference.len() + 1;
        let (mut i, mut j, mut trace) = (self.rows, self.reference.len(), Vec::new());
        while i > 0 || j > 0 {
            let edit = self.cells[i * width + j].1;
            trace.push(edit);
            match edit {
                Edit::Keep | Edit::Replace => (i, j) = (i - 1, j - 1),
                Edit::Insert => j -= 1,
                Edit::Delete => i -= 1,
                Edit::None => break,
            }
        }
        let mut alignment = Alignment::default();
        let Alignment { positions, wrong_reference, wrong_candidate } = &mut alignment;
        let mut position = -1isize;
        for edit in trace.into_iter().rev() {
            match edit {
                Edit::Keep | Edit::Replace => {
                    position += 1;
                    positions.push(position);
                    wrong_reference.push(edit == Edit::Replace);
                    wrong_candidate.push(edit == Edit::Replace);
                }
                Edit::Delete => {
                    position += 1;
                    wrong_candidate.push(true);
                }
                Edit::Insert | Edit::None => {
                    positions.push(position);
                    wrong_reference.push(true);
                }
            }
        }
        alignment
    }
}

/// How the words of a candidate correspond to the words of a reference.
#[derive(Default)]
struct Alignment {
    /// For each word of the reference, the position of the corresponding word in the candidate. For a word that the
    /// candidate lacks, the position of the candidate's last word before the gap, or −1 if the gap is before the first
    /// word.
    positions: Vec<isize>,
    /// For each word of the reference, whether the word is replaced or missing in the candidate.
    wrong_reference: Vec<bool>,
    /// For each word of the candidate, whether the word is replaced or deleted.
    wrong_candidate: Vec<bool>,
}

/// How good a shift is; the largest value is best: number of edits saved, number of words moved, the negative position
/// from which they move, and the negative position to which they move.
type Rank = (i64, usize, isize, isize);

/// The best shift of a block: number of edits that it saves, and the words after the shift; `None` if there is no
/// shift. The best one saves the most edits; among equals the longest block wins, then the earliest position from which
/// and to which words move. `tried` counts the shifts tried for this candidate and reference.
fn best_shift(words: &[u32], reference: &[u32], table: &mut EditTable, tried: &mut usize) -> Option<(i64, Vec<u32>)> {
    let before = i64::from(table.distance());
    let Alignment { positions, wrong_reference, wrong_candidate } = table.alignment();
    let mut best: Option<(Rank, Vec<u32>)> = None;
    for start in 0..words.len() {
        for target in 0..reference.len() {
            if target.abs_diff(start) > MAX_SHIFT_DISTANCE {
                continue;
            }
            let mut length = 0;
            while length < MAX_SHIFT_LENGTH
                && words.get(start + length).zip(reference.get(target + length)).is_some_and(|(a, b)| a == b)
            {
                length += 1;
                let wrong = wrong_candidate[start..start + length].contains(&true)
                    && wrong_reference[target..target + length].contains(&true);
                let within = (start as isize..(start + length) as isize).contains(&positions[target]);
                if !wrong || within {
                    continue;
                }
                let mut previous = -1;
                for offset in -1..length as isize {
                    let to = match usize::try_from(target as isize + offset) {
                        Err(_) => 0,
                        Ok(index) => match positions.get(index) {
                            Some(position) => position + 1,
                            None => break,
                        },
                    };
                    if to == previous {
                        continue;
                    }
                    previous = to;
                    let shifted = shift(words, start, length, to as usize);
                    table.fill(&shifted);
                    let rank = (before - i64::from(table.distance()), length, -(start as isize), -to);
                    *tried += 1;
                    if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                        best = Some((rank, shifted));
                    }
                }
                if *tried >= MAX_SHIFTS_TRIED {
                    return best.map(|(rank, shifted)| (rank.0, shifted));
                }
            }
        }
    }
    best.map(|(rank, shifted)| (rank.0, shifted))
}

/// The words after the block of `length` words at `start` has been moved to position `to`.
fn shift(words: &[u32], start: usize, length: usize, to: usize) -> Vec<u32> {
    let block = &words[start..start + length];
    if to < start {
        [&words[..to], block, &words[to..start], &words[start + length..]].concat()
    } else if to > start + length {
        [&words[..start], &words[start + length..to], block, &words[to..]].concat()
    } else {
        let end = (length + to).min(words.len());
        [&words[..start], &words[start + length..end], block, &words[end..]].concat()
    }
}
