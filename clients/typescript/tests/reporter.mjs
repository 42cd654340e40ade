// Job: says what has failed, and at the end `N passed, N failed, N skipped`: what ./test counts.

export default async function* reporter(source) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for await (const { type, data } of source) {
    const isSuite = data?.details?.type === 'suite';
    if (type === 'test:fail' && !isSuite) {
      counts.failed++;
      const { cause } = data.details.error;
      yield `FAILED ${data.file}: ${data.name}\n${cause?.stack ?? data.details.error}\n`;
    } else if (type === 'test:pass' && data.skip !== undefined) {
      counts.skipped++;
      yield `skipped ${data.name}: ${data.skip}\n`;
    } else if (type === 'test:pass' && !isSuite) counts.passed++;
    else if (type === 'test:diagnostic' && /bytes$/.test(data.message)) yield `${data.message}\n`;
    else if (type === 'test:stderr' || type === 'test:stdout') yield data.message;
  }
  yield `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`;
}
