//! Translation edit rate (Snover et al., 2006) as sacrebleu 2.6 computes it after Tercom: the edits and shifts of blocks
//! that turn a candidate into a reference, per word of the reference.

const LONGEST_SHIFT: usize = 10;
const FARTHEST_SHIFT: usize = 50;
const BEAM: usize = 25;
const MOST_CANDIDATES: usize = 1000;
const UNREACHED: u32 = u32::MAX / 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Keep,
    Replace,
    /// A word of the reference that the candidate lacks.
    Insert,
    /// A word of the candidate that the reference lacks.
    Delete,
    None,
}

/// Words as numbers, in lower case.
fn words<'t>(text: &'t str, known: &mut std::collections::HashMap<String, u32>) -> Vec<u32> {
    let mut number = |word: &'t str| {
        let next = known.len() as u32;
        *known.entry(word.to_lowercase()).or_insert(next)
    };
    text.split_whitespace().map(&mut number).collect()
}

/// Edits of a candidate, and the mean length of its references in words: the rate is one by the other.
pub fn statistics(candidate: &str, references: &[&str]) -> (f64, f64) {
    let mut known = std::collections::HashMap::new();
    let candidate = words(candidate, &mut known);
    let references: Vec<Vec<u32>> = references.iter().map(|r| words(r, &mut known)).collect();
    let edits = references.iter().map(|r| edits(&candidate, r)).min().unwrap_or(0);
    let length = references.iter().map(Vec::len).sum::<usize>() as f64 / references.len().max(1) as f64;
    (edits as f64, length)
}

/// The rate of so many edits and so long references, in percent.
pub fn rate((edits, length): (f64, f64)) -> f64 {
    if length > 0.0 {
        100.0 * edits / length
    } else if edits > 0.0 {
        100.0
    } else {
        0.0
    }
}

/// The rate of one sentence, in percent: 0 is best, and it may pass 100.
pub fn sentence(candidate: &str, references: &[&str]) -> f64 {
    rate(statistics(candidate, references))
}

/// The rate of a corpus, in percent: candidates, each with its references.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> f64 {
    let each = pairs.into_iter().map(|(candidate, references)| statistics(candidate, &references));
    rate(each.fold((0.0, 0.0), |(e, l), (edits, length)| (e + edits, l + length)))
}

/// Shifts and edits from a candidate to a reference.
fn edits(candidate: &[u32], reference: &[u32]) -> usize {
    if reference.is_empty() {
        return candidate.len();
    }
    let mut words = candidate.to_vec();
    let (mut shifts, mut checked) = (0, 0);
    let mut table = Table::new(reference, words.len());
    loop {
        table.fill(&words);
        let Some((gain, shifted)) = best_shift(&words, reference, &mut table, &mut checked) else { break };
        if checked >= MOST_CANDIDATES || gain <= 0 {
            break;
        }
        shifts += 1;
        words = shifted;
    }
    table.fill(&words);
    shifts + table.distance() as usize
}

/// Costs and last edits of every pair of beginnings, near the diagonal; rows that two candidates share are kept.
struct Table<'r> {
    reference: &'r [u32],
    /// The candidate that the rows belong to.
    of: Vec<u32>,
    cells: Vec<(u32, Edit)>,
    rows: usize,
}

impl<'r> Table<'r> {
    fn new(reference: &'r [u32], rows: usize) -> Self {
        let width = reference.len() + 1;
        let mut cells = vec![(UNREACHED, Edit::None); (rows + 1) * width];
        for (j, cell) in cells[..width].iter_mut().enumerate() {
            *cell = (j as u32, Edit::Insert);
        }
        // Nothing is known of any row: no word has this number.
        Self { reference, of: vec![u32::MAX; rows], cells, rows }
    }

    fn distance(&self) -> u32 {
        self.cells[self.cells.len() - 1].0
    }

    /// Computes the rows of a candidate that the one before did not share.
    fn fill(&mut self, words: &[u32]) {
        let width = self.reference.len() + 1;
        let same = words.iter().zip(&self.of).take_while(|(a, b)| a == b).count();
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
        self.of.copy_from_slice(words);
    }

    /// Where each word of the reference stands in the candidate (the word before it where it stands nowhere), and which
    /// words of either are wrong.
    fn alignment(&self) -> (Vec<isize>, Vec<bool>, Vec<bool>) {
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
        let (mut align, mut wrong_reference, mut wrong_candidate) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = -1isize;
        for edit in trace.into_iter().rev() {
            match edit {
                Edit::Keep | Edit::Replace => {
                    at += 1;
                    align.push(at);
                    wrong_reference.push(edit == Edit::Replace);
                    wrong_candidate.push(edit == Edit::Replace);
                }
                Edit::Delete => {
                    at += 1;
                    wrong_candidate.push(true);
                }
                Edit::Insert | Edit::None => {
                    align.push(at);
                    wrong_reference.push(true);
                }
            }
        }
        (align, wrong_reference, wrong_candidate)
    }
}

/// How good a shift is: edits saved, words moved, and how early from and to, negative.
type Rank = (i64, usize, isize, isize);

/// The shift that saves most edits, then the longest, the earliest, to the earliest place; with how many it saves.
fn best_shift(words: &[u32], reference: &[u32], table: &mut Table, checked: &mut usize) -> Option<(i64, Vec<u32>)> {
    let before = i64::from(table.distance());
    let (align, wrong_reference, wrong_candidate) = table.alignment();
    let mut best: Option<(Rank, Vec<u32>)> = None;
    for start in 0..words.len() {
        for target in 0..reference.len() {
            if target.abs_diff(start) > FARTHEST_SHIFT {
                continue;
            }
            let mut length = 0;
            while length < LONGEST_SHIFT
                && words.get(start + length).zip(reference.get(target + length)).is_some_and(|(a, b)| a == b)
            {
                length += 1;
                let wrong = wrong_candidate[start..start + length].contains(&true)
                    && wrong_reference[target..target + length].contains(&true);
                let within = (start as isize..(start + length) as isize).contains(&align[target]);
                if !wrong || within {
                    continue;
                }
                let mut tried = -1;
                for offset in -1..length as isize {
                    let place = target as isize + offset;
                    let to = match usize::try_from(place) {
                        Err(_) => 0,
                        Ok(place) => match align.get(place) {
                            Some(at) => at + 1,
                            None => break,
                        },
                    };
                    if to == tried {
                        continue;
                    }
                    tried = to;
                    let shifted = shift(words, start, length, to as usize);
                    table.fill(&shifted);
                    let rank = (before - i64::from(table.distance()), length, -(start as isize), -to);
                    *checked += 1;
                    if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                        best = Some((rank, shifted));
                    }
                }
                if *checked >= MOST_CANDIDATES {
                    return best.map(|(rank, shifted)| (rank.0, shifted));
                }
            }
        }
    }
    best.map(|(rank, shifted)| (rank.0, shifted))
}

/// The words with a block moved.
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
