# An image of the server, without torch: see docs/server.md.
FROM python:3.13-slim AS build
COPY . /source
RUN pip install --no-cache-dir --prefix=/installed '/source[server]'

FROM python:3.13-slim
COPY --from=build /installed /usr/local
USER 65534:65534
ENV PYTHONDONTWRITEBYTECODE=1 HOME=/nonexistent
EXPOSE 8000
CMD ["semblante", "serve", "--host", "0.0.0.0"]
