// Runs a command and ends it, and all that it started, when standard input closes: at the latest when the process at the
// other end dies, however it dies.
import { spawn } from 'node:child_process';

const [command, ...args] = process.argv.slice(2);
const windows = process.platform === 'win32';
const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'], shell: windows });
const end = (code) => {
	// This process leads the group: the signal reaches it too.
	if (!windows) process.kill(-process.pid, 'SIGKILL');
	child.kill();
	process.exit(code);
};

child.on('error', (error) => {
	console.error(`${command}: ${error.message}`);
	process.exit(127);
});
child.on('exit', (code) => process.exit(code ?? 1));
process.stdin.on('end', () => end(1)).on('error', () => end(1)).resume();
