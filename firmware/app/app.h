/* The application in two calls, for main() or an Arduino sketch. */
#ifndef APP_H
#define APP_H

#ifdef __cplusplus
extern "C" {
#endif

/* Starts clocks, link and tick counter. To be called once, before anything else. */
void app_start(void);

/* Waits for one request and answers it. */
void app_serve(void);

#ifdef __cplusplus
}
#endif

#endif
