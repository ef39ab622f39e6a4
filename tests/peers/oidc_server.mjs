// Runs oidc-provider as the authorization server of a test. One argument: its settings as JSON. Prints its issuer when it is ready.
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(process.argv[2]);
// the package lies where npm.py has installed it, not beside this file
const { Provider } = await import(pathToFileURL(settings.module).href);

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: settings.client_id,
        client_secret: settings.client_secret,
        redirect_uris: settings.redirect_uris,
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        // a test's redirect address is on this machine and without TLS
        application_type: 'native',
        token_endpoint_auth_method: 'client_secret_basic',
      },
    ],
    // a test runs on one clock
    clockTolerance: 0,
    cookies: { keys: ['only-for-tests'] },
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
    },
    ttl: {
      AccessToken: 3600,
      AuthorizationCode: 60,
      Grant: 86400,
      IdToken: 3600,
      Interaction: 600,
      RefreshToken: 86400,
      Session: 86400,
    },
    rotateRefreshToken: settings.rotate,
  });
  // a token ends before its time, and alone: a revocation takes all tokens of its grant
  provider.use(async (ctx, next) => {
    if (ctx.path !== '/only-for-tests/end') return next();
    await (await provider.AccessToken.find(ctx.query.token)).destroy();
    ctx.status = 204;
  });
  server.on('request', provider.callback());
  process.stdout.write(`${issuer}\n`);
});
