// SvelteKit would end the whole build at the first page that fails or link that leads nowhere. Here each is printed for
// dataflow_runtime.dashboards.failures to read, and the other pages are built.
export default {
	kit: {
		prerender: {
			handleHttpError: ({ status, path, referrer }) => {
				console.error(`[dataflow] http ${JSON.stringify({ status, path, referrer: referrer ?? null })}`);
			}
		}
	}
};
