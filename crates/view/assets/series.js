// Pure functions on curves.

/** A curve smoothed by an exponential moving average with a weight from 0 to 1, corrected for its start as TensorBoard does. */
export function smooth(values, weight) {
  let [sum, n] = [0, 0];
  return values.map((value) => {
    if (value === null || value === undefined) return null;
    sum = sum * weight + (1 - weight) * value;
    n += 1;
    return weight === 0 ? value : sum / (1 - weight ** n);
  });
}

/** The number of a sorted list that is nearest to another; null if the list is empty. */
export function nearest(sorted, wanted) {
  return sorted.reduce(
    (best, next) => (best === null || Math.abs(next - wanted) < Math.abs(best - wanted) ? next : best),
    null,
  );
}

/** Pearson's correlation of two lists of numbers of the same length; null if one of them is constant. */
export function correlation(xs, ys) {
  const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;
  const [mx, my] = [mean(xs), mean(ys)];
  let [xy, xx, yy] = [0, 0, 0];
  xs.forEach((x, i) => {
    xy += (x - mx) * (ys[i] - my);
    xx += (x - mx) ** 2;
    yy += (ys[i] - my) ** 2;
  });
  return xx === 0 || yy === 0 ? null : xy / Math.sqrt(xx * yy);
}
