import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const { deployment } = JSON.parse(readFileSync('../../evidence.config.yaml', 'utf-8'));

// Evidence's frame of a page has inline scripts that SvelteKit does not know: the policy allows them by their hashes.
const frame = readFileSync('src/app.html', 'utf-8').replace('/*loading*/', '');
const hashes = [...frame.matchAll(/<script>([^]*?)<\/script>/g)].map(
	([, text]) => `sha256-${createHash('sha256').update(text).digest('base64')}`
);

export default {
	kit: {
		// Warehouse rows are other people's text. Nothing that they contain may run as a script.
		csp: {
			directives: {
				'script-src': ['self', 'wasm-unsafe-eval', ...hashes],
				'script-src-attr': ['none'],
				'object-src': ['none'],
				'base-uri': ['self']
			}
		},
		alias: { '@evidence-dev/component-utilities/echarts': 'src/components/dataflow_site/charts.js' },
		prerender: {
			// SvelteKit would end the whole build at the first link that leads nowhere. Here each is printed for
			// dataflow_runtime.dashboards.build to read. (hooks.server.js answers for pages that fail.)
			handleHttpError: ({ path, referrer }) => {
				const page = (referrer ?? '').slice(deployment.basePath.length).split('/').filter(Boolean);
				const file = ['src', 'pages', ...page, '+page.md'].join('/');
				console.error(`\n[dataflow] ${JSON.stringify({ file, message: `the link to ${path} leads nowhere` })}`);
			}
		}
	}
};
