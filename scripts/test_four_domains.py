#!/usr/bin/env python3
"""Tests of what scripts/four_domains calls true, and of its statistics; needs nothing but Python."""

import importlib.util
import json
import random
import tempfile
import unittest
from pathlib import Path

from four_domains import analysis, arms, truth
from four_domains.data import DATASETS, arithmetic_pairs, code_pairs, split
from four_domains.generators import CODE, DIALOGUE, TRANSLATION
from four_domains.instructions import FORMS, FormJudge, form_of, instructed, part_of


def rows(domain, part):
    folder = "arithmetic" if domain == "math" else domain
    return [json.loads(line) for line in (DATASETS / folder / f"{part}.jsonl").read_text().splitlines()]


class Truth(unittest.TestCase):
    def test_every_reference_is_right_and_no_reference_of_another_answer(self):
        for domain in ("math", "translation", "dialogue"):
            held = rows(domain, "heldout")
            for row, other in zip(held, held[1:] + held[:1]):
                self.assertTrue(truth.judge(row, row["reference"]), row)
                if other["reference"] != row["reference"]:
                    self.assertFalse(truth.judge(row, other["reference"]), row)

    def test_every_rejected_reply_of_the_preferences_is_wrong(self):
        for domain in ("translation", "dialogue"):
            for pair in rows(domain, "preferences") + rows(domain, "heldout-preferences"):
                row = dict(pair, domain=domain)
                self.assertTrue(truth.judge(row, pair["chosen"]), pair)
                self.assertFalse(truth.judge(row, pair["rejected"]), pair)

    def test_a_number_is_right_bare_or_after_its_working_and_never_as_a_hedge(self):
        for reply in ("72", " 72.", "6+6=12; 5+1+1=7; 72"):
            self.assertTrue(truth.right_number(reply, "72"))
        for reply in ("", "73", "71 or 72", "72 72", "6+6=12; 5+1+1=7", "6+6=12; 72; 73", "-72", "072", "is 72"):
            self.assertFalse(truth.right_number(reply, "72"), reply)

    def test_hidden_tests_pass_right_programs_and_fail_those_that_know_only_the_visible_answers(self):
        draw = random.Random(1)
        for prompt, (parameter, body, inputs) in truth.functions().items():
            visible, hidden = list(CODE.tests(parameter, body, inputs)), truth.hidden_tests(prompt)
            self.assertFalse(set(visible) & set(hidden))
            answers = {repr(eval(value)): eval(body, {parameter: eval(value)}) for value in inputs}
            lookup = f"def f({parameter}): return {answers!r}.get(repr({parameter}))"
            if draw.random() < 0.1:
                self.assertTrue(CODE.passes(CODE.right(parameter, body), hidden), prompt)
                self.assertTrue(CODE.passes(lookup, visible), prompt)
                self.assertFalse(CODE.passes(lookup, hidden), prompt)

    def test_a_reply_breaks_the_rule_that_it_breaks(self):
        prompt = "I have lost my red kites."
        for reply, broken in (
            ("I am sorry to hear about your red kites.", []),
            ("What a pity, I hope you get your red kites back!", []),
            ("I am sorry to hear about your red boats.", ["subject"]),
            ("How nice, red kites must make you happy.", ["act"]),
            ("I am sorry to hear about your red kites. I am sorry.", ["act", "one sentence", "no repetition"]),
            ("I am sorry to hear about your stupid red kites.", ["act", "polite"]),
            ("I am sorry to hear about your red kites", ["one sentence"]),
            ("", ["act", "subject", "one sentence"]),
        ):
            rules = truth.dialogue_rules(prompt, reply)
            self.assertEqual([rule for rule, is_kept in rules.items() if not is_kept], broken, reply)

    def test_an_english_phrase_has_exactly_the_translations_of_the_grammar(self):
        self.assertEqual(truth.translations()["In German: I see the old dog"], {"ich sehe den alten Hund"})
        draw = random.Random(3)
        for kind in TRANSLATION.KINDS:
            for _ in range(200):
                pair = draw.choice(TRANSLATION.ADJECTIVES), draw.choice(TRANSLATION.NOUNS)
                english, german, _ = TRANSLATION.phrase(kind, *pair, draw)
                self.assertIn(truth.spelling(german), truth.translations()[f"In German: {english}"])
        self.assertTrue(truth.judge({"domain": "translation", "prompt": "In German: the big cats"}, "Die grossen Katzen."))


class Data(unittest.TestCase):
    def test_pairs_prefer_a_right_reply_to_a_wrong_one(self):
        for row, pair in arithmetic_pairs(rows("math", "train"), 400):
            self.assertTrue(truth.right_number(pair["chosen"], row["reference"]), pair)
            self.assertFalse(truth.right_number(pair["rejected"], row["reference"]), pair)
        for row, pair in code_pairs(rows("code", "train"), 200):
            self.assertTrue(CODE.passes(pair["chosen"], truth.all_tests(row["prompt"])), pair)
            self.assertFalse(CODE.passes(pair["rejected"], row["tests"]), pair)

    def test_pilot_and_final_prompts_are_apart_and_of_every_kind(self):
        for domain in truth.DOMAINS:
            held = rows(domain, "heldout")
            pilot, final = split(held)
            self.assertEqual(sorted(row["id"] for row in pilot + final), sorted(row["id"] for row in held))
            self.assertEqual({row["kind"] for row in pilot}, {row["kind"] for row in final})


class Forms(unittest.TestCase):
    judge = staticmethod(FormJudge(lambda items: [truth.judge(row, reply) for row, reply in items]))

    def test_a_quarter_of_the_prompts_has_an_instruction_and_only_replies_that_follow_it_are_right(self):
        seen = set()
        for domain in ("math", "translation", "dialogue"):
            plain = rows(domain, "heldout")
            made = list(instructed(plain))
            listed = [row for row in made if form_of(row)]
            self.assertAlmostEqual(len(listed) / len(made), 1 / 4, delta=0.06)
            self.assertEqual([row for row in made if not form_of(row)], [row for row in plain if row in made])
            for row in listed:
                form, reference = form_of(row), row["reference"]
                seen.add(form.id)
                self.assertEqual(row["prompt"], f"{row['plain']} {form.words}")
                other = next(r["reference"] for r in plain if r["reference"] != reference)
                verdicts = self.judge([(row, reply) for reply in (form.wrap(reference), reference, form.wrap(other), "")])
                self.assertEqual(verdicts, [True, False, False, False], row)
        self.assertEqual(seen, {form.id for form in FORMS})
        self.assertEqual(list(instructed(rows("code", "heldout"))), rows("code", "heldout"))

    def test_a_form_is_lost_again_as_it_was_got_and_no_other_text_has_it(self):
        for form in FORMS:
            for reply in ("72", "Of course, say \"so\".", "fünf große Hunde"):
                self.assertEqual(form.unwrap(form.wrap(reply)), reply)
                self.assertIsNone(form.unwrap(reply))

    def test_about_half_of_the_demonstrations_follow_their_instruction(self):
        listed = [row for row in instructed(rows("translation", "sft")) if form_of(row)]
        follows = sum(form_of(row).unwrap(row["demonstration"]) is not None for row in listed)
        self.assertAlmostEqual(follows / len(listed), 1 / 2, delta=0.1)

    def test_prompts_with_and_without_an_instruction_are_told_apart_in_their_order(self):
        listed = dict(instruction_id_list=[FORMS[0].id])
        found = {domain: [{}, listed] if domain == "math" else [{}] for domain in truth.DOMAINS}
        shares = {domain: [0.25, 0.75][:len(found[domain])] for domain in truth.DOMAINS}
        self.assertEqual(part_of(found, shares, True), dict(math=[0.75]))
        self.assertEqual(part_of(found, shares, False), {domain: [0.25] for domain in truth.DOMAINS})


class Arms(unittest.TestCase):
    def test_the_hand_written_rule_of_dialogue_nearly_agrees_with_the_truth_without_being_it(self):
        spec = importlib.util.spec_from_file_location("small_talk", arms.OWN / "small_talk/verifier.py")
        rule = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(rule)
        pairs = rows("dialogue", "preferences")
        score = lambda pair, key: rule.compute_small_talk(pair["prompt"], pair[key], "")
        self.assertTrue(all(score(pair, "chosen") == 1.0 for pair in pairs))
        self.assertLess(sum(score(pair, "rejected") for pair in pairs), 0.02 * len(pairs))
        row, reply = dict(domain="dialogue", prompt="I have lost my red kites."), "I am sorry to hear about the new red kites."
        self.assertEqual(rule.compute_small_talk(row["prompt"], reply, ""), 1.0)
        self.assertFalse(truth.judge(row, reply))

    def test_uniform_takes_admitted_tools_that_suit_the_domain_and_have_what_they_need(self):
        with tempfile.TemporaryDirectory() as folder:
            library = arms.library(Path(folder), ("numeric_match", "code_tests", "bleu", "english", "rouge_l"))
            card = "name: d\nkind: verifier\nrole: quality\ntasks:\n- dialogue\nneeds_reference: {}\nrange:\n- 0.0\n- 1.0\n" \
                   "origin: written by a model for the task `dialogue`\n"
            for name, needs, status in (("with", "true", "admitted"), ("free", "false", "admitted"), ("bad", "false", "refused")):
                (library / name).mkdir()
                (library / name / "tool.yaml").write_text(card.format(needs))
                (library / name / "admission.json").write_text(json.dumps(dict(status=status)))
            self.assertEqual(arms.applicable(library),
                             dict(math=["numeric_match"], code=["code_tests"], translation=["bleu"], dialogue=["free"]))
            kept = arms.without_synthesis(library, library / "rest")
            names = {home.name for home in arms.tools(kept)}
            self.assertEqual(names, {"numeric_match", "code_tests", "bleu", "english", "rouge_l"})


class Analysis(unittest.TestCase):
    def test_the_auc_is_of_pairs_within_a_group_and_groups_count_alike(self):
        self.assertEqual(analysis.group_auc([[(1.0, True), (0.0, False)], [(0.0, True), (1.0, False), (1.0, False)]]), 0.5)
        self.assertEqual(analysis.group_auc([[(1.0, True), (1.0, False)], [(5.0, True)], [(9.0, False)]]), 0.5)

    def test_the_difference_is_of_the_same_prompt_and_the_interval_holds_it(self):
        arm = {seed: {"a": [1.0, 1.0, 0.5], "b": [0.5]} for seed in (0, 1)}
        other = {0: {"a": [0.0, 1.0, 0.5], "b": [0.5]}, 1: {"a": [1.0, 1.0, 0.5], "b": [0.0]}}
        differences = analysis.difference(arm, other)
        self.assertEqual(differences, {"a": [0.5, 0.0, 0.0], "b": [0.25]})
        low, high = analysis.bootstrap(differences)
        self.assertTrue(low <= analysis.over_domains(differences) <= high)
        self.assertEqual(analysis.bootstrap({"a": [0.2, 0.2]}), (0.2, 0.2))

    def test_an_interval_over_seeds_is_students_and_never_that_of_endless_seeds(self):
        self.assertIsNone(analysis.over_seeds([1.0]))
        low, high = analysis.over_seeds([1.0, 2.0, 3.0])
        self.assertAlmostEqual(high - low, 2 * 4.30 / 3 ** 0.5)
        # Of twenty seeds the quantile is 2.09.
        low, high = analysis.over_seeds([0.0, 1.0] * 10)
        self.assertGreater(high - low, 2 * 2.09 * (20 / 19 / 4) ** 0.5 / 20 ** 0.5)


if __name__ == "__main__":
    unittest.main()
