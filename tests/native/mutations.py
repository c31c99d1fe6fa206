"""Breaks the code once for each acceptance test of README.md, in a copy, and says whether that test notices.

    python tests/native/mutations.py [NUMBER ...]

Every row is one wrong line that the test is there to find. A row whose text is no longer in the code is told as stale.
It is not a part of the suite: each row is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("runner", "converters", "eval", "specs", "tests", "benchmarks", "pyproject.toml", "conftest.py")
NATIVE, WFDB = "runner/native/", "converters/records/ecg/wfdb_reader.py"

# Number, test, file, right text, wrong text.
MUTATIONS = (
    (1, "test_backbone.py::test_parameter_counts_are_those_of_the_table", f"{NATIVE}backbone.py",
     "self.fc1 = nn.Linear(width, 4 * width)", "self.fc1 = nn.Linear(width, 4 * width, bias=False)"),
    (2, "test_adapters.py::test_trained_names", f"{NATIVE}adapters.py",
     'names = {last, last.removesuffix("weight") + "bias"}', 'names = {last.removesuffix("weight") + "bias"}'),
    (3, "test_backbone.py::test_lengths_that_are_refused", f"{NATIVE}backbone.py",
     "if samples % DIVISOR or not DIVISOR <= samples <= LONGEST:", "if not DIVISOR <= samples <= LONGEST:"),
    (4, "test_backbone.py::test_attention_sees_no_later_token", f"{NATIVE}backbone.py",
     "is_causal=True", "is_causal=False"),
    (5, "test_adapters.py::test_merged_model_says_the_same_under_the_original_names", f"{NATIVE}adapters.py",
     "products = self.lora_b.view(3, -1, rank) @ self.lora_a.view(3, rank, -1)",
     "products = self.lora_b.view(3, -1, rank) @ self.lora_a.view(3, rank, -1).flip(0)"),
    (6, "test_checkpoints.py::test_the_published_format_loads", f"{NATIVE}checkpoints.py",
     "tensor = value.t() if name.endswith(STORED_IN_OUT) else value",
     "tensor = value.t() if value.ndim == 2 and value.shape[0] == value.shape[1] else value"),
    (7, "test_zeroth_order.py::test_two_sided_slope_of_a_quadratic_is_exact", f"{NATIVE}zeroth_order.py",
     "distance = 2 * eps if two else eps", "distance = eps"),
    (8, "test_zeroth_order.py::test_averaging_draws_converges_at_the_known_rate", f"{NATIVE}zeroth_order.py",
     "torch._foreach_add_(total, direction, alpha=rho / len(estimate.rhos))",
     "torch._foreach_add_(total, direction, alpha=rho)"),
    (9, "test_zeroth_order.py::test_slope_of_a_real_network", f"{NATIVE}zeroth_order.py",
     "seen.append((plus, loss()))", "seen.append((plus, plus - 0.5 * (plus - loss())))"),
    (10, "test_zeroth_order.py::test_slope_of_a_real_network", f"{NATIVE}zeroth_order.py",
     "return float(self.objective(in_double(outputs), self.batch.target.cpu().double()))",
     "objective = self.objective if call % 2 == 0 else self.objective.main\n"
     "        return float(objective(in_double(outputs), self.batch.target.cpu().double()))"),
    (11, "test_zeroth_order.py::test_parameters_come_back_bit_for_bit", f"{NATIVE}zeroth_order.py",
     "            torch._foreach_copy_(self.parameters, self._copy)\n\n",
     "            torch._foreach_add_(self.parameters, 0.0)\n\n"),
    (12, "test_zeroth_order.py::test_no_global_generator_is_touched", f"{NATIVE}directions.py",
     "flat = torch.randn(total, generator=noise,", "torch.rand(1)\n            flat = torch.randn(total, generator=noise,"),
    (13, "test_sparsify.py::test_the_kept_share_is_what_was_asked_for", f"{NATIVE}sparsify.py",
     "return uniform >= share", "return uniform < share"),
    (14, "test_fusion.py::test_a_coefficient_of_one_is_the_tiny_batchs_gradient", f"{NATIVE}fusion.py",
     "        if c == 1:\n", "        if c > 1:\n"),
    (15, "test_fusion.py::test_a_coefficient_of_zero_is_the_direction_at_the_first_order_norm", f"{NATIVE}fusion.py",
     "first_norms, zeroth_norms = torch._foreach_norm(list(first)), torch._foreach_norm(list(zeroth))",
     "first_norms, zeroth_norms = torch._foreach_norm(list(first), 1), torch._foreach_norm(list(zeroth))"),
    (16, "test_fusion.py::test_only_the_sign_of_the_slope_survives", f"{NATIVE}fusion.py",
     "/ (torch.stack(zeroth_norms) + norm_eps)", "/ (1 + norm_eps)"),
    (17, "test_fusion.py::test_a_tensor_that_the_loss_ignores_is_named", f"{NATIVE}fusion.py",
     "            if part.grad is None:\n                raise NativeError(f\"fusion: {name}",
     "            if part.grad is None and not name:\n                raise NativeError(f\"fusion: {name}"),
    (18, "test_fusion.py::test_fused_by_hand", f"{NATIVE}fusion.py",
     "scales = torch.stack(first_norms) /", "scales = torch.stack(first_norms).norm() /"),
    (19, "test_fusion.py::test_the_schedule_as_published_code_executes_it", f"{NATIVE}coefficients.py",
     "return self.first if progress < self.switch else self.then",
     "return self.first if progress <= self.switch else self.then"),
    (20, "test_fusion.py::test_heads_follow_the_full_batch", f"{NATIVE}fusion.py",
     "tiny_loss = self._first_order(tiny, with_heads=of_heads is None)",
     "tiny_loss = self._first_order(tiny, with_heads=True)\n        of_heads = None"),
    (21, "test_fusion.py::test_all_of_the_batch_at_a_coefficient_of_one_is_lora", f"{NATIVE}fusion.py",
     "tiny = batch.first(self._bp_batch)", "tiny = batch.first(self._bp_batch - 1)"),
    (22, "test_fusion.py::test_buffers_change_as_documented", f"{NATIVE}zeroth_order.py",
     'return "batch" if call == 0 else "batch_only"', 'return "batch"'),
    (23, "test_fusion.py::test_fusion_learns", f"{NATIVE}fusion.py",
     "torch._foreach_add_(fused, list(first), alpha=coefficient)",
     "torch._foreach_add_(fused, list(first), alpha=-coefficient)"),
    (24, "test_memory.py::test_what_a_record_saves_in_tinylight", f"{NATIVE}backbone.py",
     "hidden = self.conv2(hidden)", "hidden = self.conv2(hidden.exp().log().exp().log())"),
    (25, "test_memory.py::test_probing_a_loss_saves_nothing", f"{NATIVE}zeroth_order.py",
     "with torch.no_grad(), mode(self.model, self.statistics(call), train=False):",
     "with mode(self.model, self.statistics(call), train=False):"),
    (27, "test_distill.py::test_gradient_of_a_logit", f"{NATIVE}distill.py",
     "loss = functional.binary_cross_entropy_with_logits(student / temperature, wanted)",
     "loss = functional.binary_cross_entropy_with_logits(student / temperature, wanted, reduction='sum')"),
    (28, "test_distill.py::test_lead_masks", f"{NATIVE}distill.py", "3: (1, 6, 10)", "3: (1, 7, 11)"),
    (29, "../records/ecg/test_sources.py::test_class_lists_are_those_of_fusion", "converters/records/ecg/cinc2021.py",
     "> more_than for name in names", "> 2 * more_than for name in names"),
    (30, "../records/ecg/test_wfdb_reader.py::test_gain_and_baseline_by_hand", WFDB,
     "((adu - baseline) / (gain", "(adu / (gain"),
    (31, "test_splits.py::test_published_sizes_by_patient", f"{NATIVE}splits.py",
     "LABELLED_TO_TRAIN = 0.8", "LABELLED_TO_TRAIN = 0.5"),
    (32, "test_objective.py::test_a_target_without_variance_is_refused", f"{NATIVE}objective.py",
     "    target.check(train_labels)\n", ""),
    (33, "../eval/test_thresholds.py::test_the_stored_threshold_gives_the_maximum_of_the_curve", "eval/thresholds.py",
     "decisions: BoolArray = y_score >= np.array", "decisions: BoolArray = y_score > 1e-9 + np.array"),
    (34, "test_train.py::test_a_value_that_is_no_number_is_never_better_and_uses_up_patience", f"{NATIVE}watch.py",
     "if math.isfinite(value) and (self.best is None or value > self.best):",
     "if self.best is None or not value <= self.best:"),
    (35, "../launch/test_rehearsal_ecg.py::test_a_run_is_plain_text_with_all_that_a_result_needs",
     "runner/stages/ecg_final.py", '    partial.rename(final)\n',
     '    torch.save({}, partial / "more.pt")\n    partial.rename(final)\n'),
    (36, "test_train.py::test_ended_after_any_step_it_goes_on_to_the_same_bits", f"{NATIVE}streams.py",
     "SeedSequence([seed, PURPOSES.index(purpose), step, draw])",
     "SeedSequence([seed, PURPOSES.index(purpose), draw] if step else None)"),
)  # fmt: skip


def noticed(test: str, file: str, right: str, wrong: str) -> str:
    """Return what becomes of one wrong line: found, NOT FOUND, or stale."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "main"
        copy.mkdir()
        subprocess.run(["cp", "-r", *(str(ROOT / name) for name in COPIED), str(copy)], check=True)
        text = (copy / file).read_text(encoding="utf-8")
        if text.count(right) < 1 or not right:
            return "stale: the right text is not in the code"
        (copy / file).write_text(text.replace(right, wrong, 1), encoding="utf-8")
        path = (copy / "tests/native" / test.partition("::")[0]).resolve()
        name = f"{path}::{test.partition('::')[2]}"
        words = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", name]
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-200:]
    return {0: f"NOT FOUND: {last}", 1: "found"}.get(done.returncode, f"not run: {last}")


def main() -> None:
    """Print a line for each wrong line."""
    asked = set(map(int, sys.argv[1:]))
    for number, test, *change in MUTATIONS:
        if not asked or number in asked:
            print(f"{number:2}  {noticed(test, *change):10}  {test}", flush=True)


if __name__ == "__main__":
    main()
