// Stands in for Evidence's chart action (see `alias` in svelte.config.js): every chart of every page passes through here.
import echarts from '../../../../../node_modules/@evidence-dev/component-utilities/src/echarts.js';

const list = (value) => (Array.isArray(value) ? value : value ? [value] : []);

/** Escape all text in a value of the data, however deep: ECharts writes what a tooltip's formatter returns as HTML. */
const escaped = (value) => {
	if (typeof value === 'string') return value.replace(/[&<>"']/g, (found) => `&#${found.charCodeAt(0)};`);
	if (Array.isArray(value)) return value.map(escaped);
	if (value?.constructor === Object) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, escaped(inner)]));
	return value;
};

const FROM_DATA = ['name', 'seriesName', 'value', 'data', 'axisValue', 'axisValueLabel'];
const escapedPoint = (point) => ({ ...point, ...Object.fromEntries(FROM_DATA.map((key) => [key, escaped(point[key])])) });

const safeTooltip = (tooltip) => {
	if (typeof tooltip?.formatter !== 'function') return tooltip;
	const formatter = (points, ...rest) =>
		tooltip.formatter(Array.isArray(points) ? points.map(escapedPoint) : escapedPoint(points), ...rest);
	return { ...tooltip, formatter };
};

/** A point between two gaps has no line to it: without a marker nobody sees it. */
const withMarkers = (series) => {
	if (series.type !== 'line' || series.showSymbol) return series;
	const values = list(series.data).map((point) => (Array.isArray(point) ? point[1] : point));
	const alone = (index) => values[index] != null && values[index - 1] == null && values[index + 1] == null;
	return values.some((_, index) => alone(index)) ? { ...series, showSymbol: true, symbolSize: 6 } : series;
};

/** No ticks between whole numbers where all values are whole. */
const withWholeTicks = (axis, dimension, series) => {
	if (axis?.type !== 'value') return axis;
	const values = series.flatMap((one) => list(one.data).map((point) => (Array.isArray(point) ? point[dimension] : point)));
	const numbers = values.filter((value) => typeof value === 'number');
	return numbers.length && numbers.every(Number.isInteger) ? { ...axis, minInterval: 1 } : axis;
};

const each = (axes, change) => (Array.isArray(axes) ? axes.map(change) : change(axes));

const improved = (options) => {
	const { config } = options;
	if (!config) return options;
	const series = list(config.series).map((one) => withMarkers({ ...one, tooltip: safeTooltip(one.tooltip) }));
	return {
		...options,
		config: {
			...config,
			tooltip: safeTooltip(config.tooltip),
			xAxis: each(config.xAxis, (axis) => withWholeTicks(axis, 0, series)),
			yAxis: each(config.yAxis, (axis) => withWholeTicks(axis, 1, series)),
			series
		}
	};
};

const label = (node, { config }) => {
	const names = [...new Set(list(config?.series).map((one) => one.name).filter(Boolean))].slice(0, 12);
	const title = list(config?.title).map((one) => one.text).filter(Boolean).join(', ') || 'Chart';
	node.setAttribute('role', 'img');
	node.setAttribute('aria-label', [title, names.join(', ')].filter(Boolean).join(': '));
};

export default (node, options) => {
	label(node, options);
	const chart = echarts(node, improved(options));
	return {
		update(changed) {
			label(node, changed);
			chart.update(improved(changed));
		},
		destroy: () => chart.destroy()
	};
};
