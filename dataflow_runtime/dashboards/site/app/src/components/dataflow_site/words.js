import cronstrue from 'cronstrue';

const UNITS = [
	['day', 86_400_000],
	['hour', 3_600_000],
	['minute', 60_000]
];

/** How long ago a time was, such as `3 hours ago`. */
export const ago = (at, now) => {
	const age = Math.max(now - new Date(at), 0);
	for (const [unit, size] of UNITS) {
		const count = Math.floor(age / size);
		if (count) return `${count} ${unit}${count === 1 ? '' : 's'} ago`;
	}
	return 'just now';
};

/** A time in UTC, to the minute. */
export const utc = (at) => `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`;

/** A schedule in words; the cron expression itself where it has no words. */
export const schedule = (cron, timezone) => {
	if (!cron) return 'by hand';
	try {
		const words = cronstrue.toString(cron, { use24HourTimeFormat: true, verbose: false });
		return `${words} (${timezone ?? 'UTC'})`;
	} catch {
		return cron;
	}
};

/** A share of 1 in percent; a small one is not rounded to nothing. */
export const percent = (share) => {
	if (share === null || share === undefined) return '–';
	if (share > 0 && share < 0.001) return '< 0.1 %';
	return `${(100 * share).toFixed(1)} %`;
};
